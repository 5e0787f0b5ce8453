"""What an invitation says, in the person's language."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Words:
    """One language's words; ``{…}`` are filled in by `houblon.people.sheet`."""

    title: str
    hello: str
    waits: str
    scan: str
    choose: str
    enter: str
    first_enter: str
    address: str
    qr: str
    name: str
    password: str
    until: str
    once: str
    keep: str
    lost: str
    by_hand: str
    burn: str
    pages: tuple[str, str]


WORDS = {
    "fr": Words(
        title="Votre compte",
        hello="Bonjour {person},",
        waits="un compte vous attend chez {site}. Un seul nom et un seul mot de passe, pour tous les services.",
        scan="Scannez ce carré avec votre téléphone, ou tapez l’adresse ci-dessous dans un navigateur.",
        choose="Choisissez votre mot de passe. Vous seul·e le connaîtrez\u202f: personne ici ne peut le lire.",
        enter="Entrez ensuite dans chaque service avec votre nom de compte et ce mot de passe.",
        first_enter="Entrez dans chaque service avec votre nom de compte et le mot de passe ci-dessous.",
        address="Adresse (à taper sans espaces)",
        qr="Code QR de l’adresse",
        name="Nom de compte",
        password="Mot de passe",  # noqa: S106 - the words, not one
        until="Valable jusqu’au",
        once="Le lien ne sert qu’une fois\u202f: qui le suit avant vous prend votre compte. "
        "Ne le photographiez pas, ne l’envoyez à personne, et détruisez cette feuille dès que vous l’aurez utilisée.",
        keep="Apprenez ce mot de passe ou rangez-le dans un gestionnaire de mots de passe, puis détruisez cette "
        "feuille. Nous ne vous le demanderons jamais.",
        lost="Lien perdu ou périmé\u202f? Demandez-en un autre à la personne qui vous a remis cette feuille, "
        "ou par {where}.",
        by_hand="Mot de passe perdu\u202f? Demandez-en un autre à la personne qui vous a remis cette feuille, "
        "ou par {where}.",
        burn="Imprimez ces feuilles, remettez chacune en main propre, puis effacez ce fichier et brûlez "
        "ce qui reste\u202f: qui le lit peut prendre les comptes.",
        pages=("feuille", "feuilles"),
    ),
    "en": Words(
        title="Your account",
        hello="Hello {person},",
        waits="an account is waiting for you at {site}. One name and one password, for all the services.",
        scan="Scan this square with your phone, or type the address below into a browser.",
        choose="Choose your password. You alone will know it: nobody here can read it.",
        enter="Then enter each service with your account name and that password.",
        first_enter="Enter each service with your account name and the password below.",
        address="Address (to be typed without spaces)",
        qr="QR code of the address",
        name="Account name",
        password="Password",  # noqa: S106
        until="Valid until",
        once="The link works once: whoever follows it before you takes your account. "
        "Take no photograph of it, send it to nobody, and destroy this sheet as soon as you have used it.",
        keep="Learn this password or keep it in a password manager, then destroy this sheet. "
        "We will never ask you for it.",
        lost="Link lost or expired? Ask the person who gave you this sheet for another one, or through {where}.",
        by_hand="Password lost? Ask the person who gave you this sheet for another one, or through {where}.",
        burn="Print these sheets, give each to its person, then delete this file and burn what is left: "
        "whoever reads it can take the accounts.",
        pages=("sheet", "sheets"),
    ),
}

_DAYS = {
    "fr": ("lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche"),
    "en": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
}
_MONTHS = {
    "fr": ("janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre", "novembre",
           "décembre"),
    "en": ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
           "December"),
}  # fmt: skip


def moment(seconds: int, language: str) -> str:
    """A day and an hour on this machine's clock, as people write them.

    :param seconds: since the epoch.
    """
    at = datetime.fromtimestamp(seconds).astimezone()
    day, month = _DAYS[language][at.weekday()], _MONTHS[language][at.month - 1]
    if language == "fr":
        number = "1er" if at.day == 1 else str(at.day)
        return f"{day} {number} {month} {at.year} à {at.hour}\u00a0h\u00a0{at.minute:02}"
    return f"{day} {at.day} {month} {at.year} at {at.hour}:{at.minute:02}"
