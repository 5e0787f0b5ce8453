"""The judges' sentences in French, for `houblon init`. A test asserts that none is missing."""

from __future__ import annotations

from collections.abc import Mapping

FRENCH: Mapping[str, str] = {
    # names
    "this is an address of a page, not a name": "c'est l'adresse d'une page, pas un nom",
    "Write the name alone, such as example.org.": "Écrivez le nom seul, par exemple example.org.",
    "a name is written without its final dot": "un nom s'écrit sans point final",
    "Leave out the dot at the end.": "Enlevez le point à la fin.",
    "this is not a valid name": "ce nom n'est pas valide",
    "Use letters, digits, hyphens and dots.": "Prenez des lettres, chiffres, tirets et points.",
    "a name cannot contain an underscore": "un nom ne peut pas contenir de tiret bas",
    "Use a hyphen instead.": "Mettez un tiret à la place.",
    "Use letters, digits and hyphens, parted by single dots; at most 63 characters between dots.":
        "Prenez des lettres, chiffres et tirets, séparés par des points simples ; au plus 63 signes entre deux "
        "points.",
    "a name does not end in a number": "un nom ne finit pas par un nombre",
    "Write a name, not an IP address.": "Écrivez un nom, pas une adresse IP.",
    "a domain has at least one dot": "un domaine contient au moins un point",
    "On a LAN without a domain, use one such as maison.home.arpa.":
        "Sur un réseau local sans domaine, prenez par exemple maison.home.arpa.",
    "names under localhost never leave a machine": "les noms sous localhost ne sortent jamais d'une machine",
    "Use a name such as maison.home.arpa.": "Prenez un nom comme maison.home.arpa.",
    # addresses
    "an address has no brackets here": "ici, une adresse s'écrit sans crochets",
    "Remove them; a port goes to `port`.": "Enlevez-les ; le port se met dans `port`.",
    "a user does not belong here": "il ne faut pas de nom de compte ici",
    "Write the user under `user`, the address alone here.": "Le compte se met dans `user`, ici l'adresse seule.",
    "a port does not belong here": "il ne faut pas de port ici",
    "Write the port under `port`, the address alone here.": "Le port se met dans `port`, ici l'adresse seule.",
    "this is not a valid IP address": "ce n'est pas une adresse IP valide",
    "Write it like 192.0.2.10 or 2001:db8::10, or a name.": "Écrivez 192.0.2.10, 2001:db8::10, ou un nom.",
    "the port is not a number from 1 to 65535": "le port n'est pas un nombre de 1 à 65535",
    "Write user@address:port.": "Écrivez compte@adresse:port.",
    # people
    "this is not a valid user name": "ce nom de compte n'est pas valide",
    "Use at most 31 small letters, digits, - and _, beginning with a letter: marie, j-dupont.":
        "Au plus 31 petites lettres, chiffres, - et _, une lettre d'abord : marie, j-dupont.",
    "this name belongs to the system": "ce nom appartient au système",
    "Use the person's own name, such as marie.": "Prenez le nom de la personne, par exemple marie.",
    "this is not an e-mail address": "ce n'est pas une adresse de courriel",
    "the part after @ is not a domain": "ce qui suit @ n'est pas un domaine",
    "Write it like marie@example.org.": "Écrivez-la comme marie@example.org.",
    "this is not a name of 1 to 80 characters on one line": "ce n'est pas un nom de 1 à 80 signes sur une ligne",
    "Shorten it.": "Raccourcissez-le.",
    # keys
    "this is a private key; it must never leave its owner's machine":
        "c'est une clé privée ; elle ne doit jamais quitter la machine de son propriétaire",
    "Put the public key there (the .pub file). If this text was ever shared, make a new key pair.":
        "Donnez la clé publique (le fichier .pub). Si ce texte a été partagé, refaites une paire de clés.",
    "a public key is one line": "une clé publique tient sur une ligne",
    "Make one with `ssh-keygen -t ed25519` and paste the one line of the .pub file.":
        "Faites-en une avec `ssh-keygen -t ed25519` et collez la ligne du fichier .pub.",
    "DSA keys are broken": "les clés DSA ne protègent plus",
    "this is an SSH certificate, not a public key": "c'est un certificat SSH, pas une clé publique",
    "Paste the .pub file, not -cert.pub.": "Collez le fichier .pub, pas -cert.pub.",
    "this is not an SSH public key (it should begin with ssh-ed25519)":
        "ce n'est pas une clé publique SSH (elle devrait commencer par ssh-ed25519)",
    "this public key is damaged: part of it is missing or changed":
        "cette clé publique est abîmée : il en manque un morceau, ou il a changé",
    "the comment after this key holds control characters": "le commentaire de cette clé a des signes de contrôle",
    "Leave the comment out.": "Enlevez le commentaire.",
    "this RSA key is too short": "cette clé RSA est trop courte",
    # files and answers
    "this file cannot be read": "ce fichier ne peut pas être lu",
    "Give the file with your public key, or paste its line.":
        "Donnez le fichier de votre clé publique, ou collez sa ligne.",
    "this file holds no key": "ce fichier ne contient pas de clé",
    "an answer is needed": "il faut une réponse",
    "Type it, or stop with Ctrl-C.": "Tapez-la, ou arrêtez avec Ctrl-C.",
    "this is none of the choices": "ce n'est pas un des choix",
    "Answer fr or en.": "Répondez fr ou en.",
    "the two passphrases differ": "les deux phrases de passe diffèrent",
    "Type the same twice.": "Tapez deux fois la même.",
    "this passphrase is too weak": "cette phrase de passe est trop faible",
    "Take five random words, for example.": "Prenez par exemple cinq mots au hasard.",
    # hearing
    "relays listen on port 587 or 465": "un relais écoute sur le port 587 ou 465",
    "Write smtp.example.net:587.": "Écrivez smtp.exemple.net:587.",
    "this is no address of a page": "ce n'est pas l'adresse d'une page",
    "Write it like https://ntfy.sh/a-name-nobody-guesses.": "Écrivez-la comme https://ntfy.sh/un-nom-introuvable.",
    "a password does not belong into an address": "il ne faut pas de mot de passe dans une adresse",
    "Leave it out.": "Enlevez-le.",
    "Many want an app password.": "Beaucoup veulent un mot de passe d'application.",
    "Ask your mail provider.": "Demandez à votre fournisseur de courriel.",
    "Check the addresses.": "Vérifiez les adresses.",
    "Check the name.": "Vérifiez le nom.",
    "Check name and port; some networks close 587.": "Vérifiez nom et port ; certains réseaux ferment le 587.",
    "a password, name or address with signs other than plain ASCII letters, digits and punctuation cannot be sent":
        "un mot de passe, un nom ou une adresse avec autre chose que des lettres sans accent, des chiffres et la "
        "ponctuation ASCII ne peut pas être envoyé",
    "Correct it, or choose another password there.": "Corrigez, ou choisissez-y un autre mot de passe.",
    "mail, ntfy, webhook, later": "mail, ntfy, webhook, later (plus tard)",
    "Check the address, and the token.": "Vérifiez l'adresse, et le jeton.",
}  # fmt: skip


def french(sentence: str) -> str:
    """The sentence in French, or as it is when it has no translation."""
    return FRENCH.get(sentence, sentence)
