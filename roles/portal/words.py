"""What the portal says, in each language a site may have.

French typography: a no-break space before ``:``, a narrow one before ``; ! ?``, typographic apostrophes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """The pages' own words in one language; ``language`` is its name in itself.

    :param slugs: folder names of the pages.
    :param short: titles short enough for a menu on a phone.
    :param places: where data are kept, by the beginning of a claim's ``where``.
    :param upstream: how well a program is looked after, by ``Metadata.upstream``.
    :param labels: states of an announcement.
    :param errors: title and sentence of the error pages.
    """

    language: str
    skip: str
    languages: str
    pages: str
    home: str
    slugs: Mapping[str, str]
    titles: Mapping[str, str]
    short: Mapping[str, str]
    colon: str
    # front page
    current: str
    quiet: str
    all_announcements: str
    services: str
    nothing: str
    nothing_more: str
    address: str
    state: str
    who: str
    unknown: str
    open_to_all: str
    with_account: str
    members_of: str
    members_of_any: str
    account: str
    join: str
    sign_in: str
    sign_in_text: str
    contact: str
    contact_text: str
    # incidents
    kinds: Mapping[str, str]
    labels: Mapping[str, str]
    about_service: str
    whole_site: str
    begins: str
    ends: str
    closed: str
    called_off: str
    no_announcement: str
    clock: str
    feed: str
    feed_text: str
    # about
    legal: str
    legal_text: str
    publisher: str
    name: str
    postal: str
    phone: str
    registration: str
    director: str
    hosting: str
    missing: str
    missing_publisher: str
    anonymous: str
    abuse: str
    abuse_text: str
    terms: str
    terms_text: str
    promises: str
    chatons: str
    chatons_promises: tuple[str, ...]
    server: str
    backups: str
    backups_none: str
    backups_some: str
    backed_up: str
    not_yet: str
    nothing_kept: str
    software: str
    software_text: str
    licence: str
    homepage: str
    source: str
    maintained: str
    upstream: Mapping[str, str]
    # privacy
    privacy_text: str
    controller: str
    data: str
    data_text: str
    no_data: str
    where: str
    how_long: str
    places: Mapping[str, str]
    why: str
    reasons: tuple[str, ...]
    cookies: str
    cookies_text: str
    recipients: str
    recipients_text: str
    processors: str
    relay: str
    alarms: str
    recipients_law: str
    rights: str
    rights_text: str
    rights_list: tuple[str, ...]
    rights_how: str
    complaint: str
    # errors
    errors: Mapping[str, tuple[str, str]]
    back: str
    hosted: str


FRENCH = Words(
    language="Français",
    skip="Aller au contenu",
    languages="Langues",
    pages="Pages",
    home="Accueil",
    slugs={"incidents": "incidents", "about": "a-propos", "privacy": "vie-privee"},
    titles={"incidents": "Incidents et maintenances", "about": "À propos", "privacy": "Vie privée"},
    short={"incidents": "Incidents", "about": "À propos", "privacy": "Vie privée"},
    colon="\u00a0:",
    current="En ce moment",
    quiet="Aucun incident signalé, aucune maintenance prévue.",
    all_announcements="Toutes les annonces",
    services="Services",
    nothing="Rien à voir pour l’instant.",
    nothing_more="Les services apparaîtront ici dès qu’ils seront ouverts. Revenez bientôt\u202f!",
    address="Adresse",
    state="État",
    who="Pour qui",
    unknown="état inconnu",
    open_to_all="tout le monde, sans compte",
    with_account="toute personne qui a un compte",
    members_of="membres du groupe",
    members_of_any="membres des groupes",
    account="Votre compte",
    join="Pour avoir un compte, écrivez à l’adresse de contact ci-dessous. Vous recevrez un lien pour choisir "
    "votre mot de passe, le même pour tous les services.",
    sign_in="Gérer mon compte",
    sign_in_text="Se connecter, changer son mot de passe ou en demander un nouveau\u00a0:",
    contact="Contact",
    contact_text="Une question, un souci\u202f? Écrivez aux personnes qui s’occupent de ce site\u00a0:",
    kinds={"incident": "Incident", "maintenance": "Maintenance"},
    labels={
        "open": "en cours", "planned": "prévue", "under-way": "en cours", "over": "délai passé",
        "closed-incident": "résolu", "closed-maintenance": "terminée", "called-off": "annulée",
    },
    about_service="Service concerné",
    whole_site="tout le site",
    begins="Début",
    ends="Fin prévue",
    closed="Fin",
    called_off="Annulée",
    no_announcement="Rien n’a encore été annoncé.",
    clock="Heures données dans le fuseau",
    feed="Flux Atom",
    feed_text="Pour être au courant sans revenir ici, abonnez-vous dans un lecteur de flux\u00a0:",
    legal="Mentions légales",
    legal_text="Article 1-1 de la loi n°\u00a02004-575 du 21 juin 2004 pour la confiance dans l’économie numérique.",
    publisher="Éditeur du site",
    name="Nom",
    postal="Adresse postale",
    phone="Téléphone",
    registration="Immatriculation",
    director="Direction de la publication",
    hosting="Hébergeur de la machine",
    missing="pas encore renseigné",
    missing_publisher="L’éditeur n’est pas encore renseigné.",
    anonymous="Ce site est publié à titre non professionnel par une personne qui reste anonyme, comme la loi le "
    "permet. L’hébergeur ci-dessous sait qui elle est.",
    abuse="Signaler un abus",
    abuse_text="Pour signaler un contenu illicite, une tentative d’hameçonnage ou une faille de sécurité\u00a0:",
    terms="Conditions d’utilisation",
    terms_text="Elles se lisent ici\u00a0:",
    promises="Nos engagements",
    chatons="Ce site est membre du CHATONS, Collectif des Hébergeurs Alternatifs, Transparents, Ouverts, Neutres et "
    "Solidaires. Selon sa charte (www.chatons.org/charte)\u00a0:",
    chatons_promises=(
        "nos services reposent sur des logiciels libres, nommés sur cette page avec leurs sources\u202f;",
        "ni publicité, ni pistage, ni exploitation commerciale de vos données\u202f;",
        "vos données restent à vous\u00a0: vous pouvez les récupérer, et faire supprimer votre compte\u202f;",
        "nous ne surveillons ni ne trions ce que vous écrivez, hors obligation légale\u202f;",
        "les incidents sont rendus publics, et l’état des sauvegardes est dit sans détour\u202f;",
        "les conditions d’utilisation sont publiques, claires, et les mêmes pour tout le monde.",
    ),
    server="Le serveur lui-même",
    backups="Sauvegardes",
    backups_none="Rien n’est encore sauvegardé sur ce site. Gardez une copie de ce à quoi vous tenez.",
    backups_some="Ce qui est sauvegardé, et ce qui n’en a pas besoin\u00a0:",
    backed_up="sauvegardé",
    not_yet="pas encore sauvegardé",
    nothing_kept="rien à sauvegarder",
    software="Logiciels et licences",
    software_text="Tout ce qui fonctionne ici est du logiciel libre\u00a0: chacun peut l’étudier, le modifier, "
    "l’installer ailleurs.",
    licence="Licence",
    homepage="site du projet",
    source="code source",
    maintained="Suivi",
    upstream={
        "maintained": "maintenu", "unmaintained": "n’est plus maintenu par ses auteurs",
        "end of life": "en fin de vie, à remplacer",
    },
    privacy_text="Ce que ce site sait de vous, où il le garde, combien de temps, et ce que vous pouvez exiger.",
    controller="Responsable du traitement",
    data="Données conservées",
    data_text="Ces données se trouvent sur le serveur du site.",
    no_data="Rien n’est conservé.",
    where="Où",
    how_long="Durée",
    places={
        "journal": "journal du système", "/var/log": "journaux du serveur", "/": "fichiers du serveur",
    },
    why="Pourquoi ces données",
    reasons=(
        "Comptes et contenus\u00a0: pour vous rendre le service que vous demandez (RGPD, article 6.1.b).",
        "Journaux\u00a0: pour la sécurité du site (article 6.1.f), et parce que la loi demande aux hébergeurs de "
        "garder pendant un an de quoi identifier l’auteur d’un contenu (article 6.1.c).",
    ),
    cookies="Cookies",
    cookies_text="Ces pages ne déposent aucun cookie et ne demandent rien à d’autres sites. Les services où l’on se "
    "connecte utilisent un cookie le temps de la session.",
    recipients="Qui y a accès",
    recipients_text="Les personnes qui administrent le site.",
    processors="Et, chacun pour ce qui passe par lui, ceux dont le site se sert (RGPD, article 13.1.e)\u00a0:",
    relay="le relais de messagerie, qui achemine les courriels du site",
    alarms="le service qui porte les alarmes aux admins",
    recipients_law="Aucun logiciel installé ici ne transmet vos données à des fins commerciales. La justice peut les "
    "demander dans les formes prévues par la loi.",
    rights="Vos droits",
    rights_text="Le règlement général sur la protection des données (RGPD, articles 15 à 21) vous donne le droit",
    rights_list=(
        "de savoir ce qui est conservé sur vous et d’en avoir une copie\u202f;",
        "de le faire corriger\u202f;",
        "de le faire effacer\u202f;",
        "d’en faire suspendre l’usage, ou de vous y opposer\u202f;",
        "de récupérer vos données dans un format lisible par une machine.",
    ),
    rights_how="Écrivez à l’adresse ci-dessous\u00a0: la réponse vient dans le mois.",
    complaint="Si la réponse ne vous convient pas, vous pouvez saisir la CNIL\u00a0: www.cnil.fr/fr/plaintes.",
    errors={
        "404": ("Page introuvable", "Cette page n’existe pas."),
        "403": ("Accès refusé", "Cette page n’est pas ouverte au public."),
        "50x": ("Panne", "Quelque chose est en panne de notre côté. Réessayez dans quelques minutes."),
    },
    back="Retour à l’accueil",
    hosted="Hébergé avec houblon, un logiciel libre.",
)

ENGLISH = Words(
    language="English",
    skip="Skip to content",
    languages="Languages",
    pages="Pages",
    home="Home",
    slugs={"incidents": "incidents", "about": "about", "privacy": "privacy"},
    titles={"incidents": "Incidents and maintenance", "about": "About", "privacy": "Privacy"},
    short={"incidents": "Incidents", "about": "About", "privacy": "Privacy"},
    colon=":",
    current="Right now",
    quiet="No incident reported, no maintenance planned.",
    all_announcements="All announcements",
    services="Services",
    nothing="Nothing to see yet.",
    nothing_more="Services will appear here as soon as they open. Come back soon!",
    address="Address",
    state="State",
    who="For whom",
    unknown="state unknown",
    open_to_all="everyone, without an account",
    with_account="everyone with an account",
    members_of="members of the group",
    members_of_any="members of the groups",
    account="Your account",
    join="To get an account, write to the contact address below. You will be sent a link to choose your password, the "
    "same for all services.",
    sign_in="Manage my account",
    sign_in_text="Sign in, change your password or ask for a new one:",
    contact="Contact",
    contact_text="A question, a problem? Write to the people who look after this site:",
    kinds={"incident": "Incident", "maintenance": "Maintenance"},
    labels={
        "open": "ongoing", "planned": "planned", "under-way": "under way", "over": "time is up",
        "closed-incident": "solved", "closed-maintenance": "done", "called-off": "called off",
    },
    about_service="Service concerned",
    whole_site="the whole site",
    begins="Begins",
    ends="Expected end",
    closed="Ended",
    called_off="Called off",
    no_announcement="Nothing has been announced yet.",
    clock="Times are those of the time zone",
    feed="Atom feed",
    feed_text="To be told without coming back here, subscribe in a feed reader:",
    legal="Legal notice",
    legal_text="As asked for by article 1-1 of the French law no. 2004-575 of 21 June 2004.",
    publisher="Publisher",
    name="Name",
    postal="Postal address",
    phone="Phone",
    registration="Registration",
    director="Director of publication",
    hosting="Provider of the machine",
    missing="not given yet",
    missing_publisher="The publisher is not given yet.",
    anonymous="This site is published non-professionally by a person who stays anonymous, as the law allows. The "
    "provider below knows who they are.",
    abuse="Report abuse",
    abuse_text="To report unlawful content, phishing or a security hole:",
    terms="Terms of use",
    terms_text="Read them here:",
    promises="Our promises",
    chatons="This site is a member of CHATONS, a collective of alternative, transparent, open, neutral and solidary "
    "hosters. By its charter (www.chatons.org/charte):",
    chatons_promises=(
        "our services rest on free software, named on this page with its sources;",
        "no advertising, no tracking, no trade with your data;",
        "your data are yours: you can take them with you, and have your account deleted;",
        "we neither watch nor sort what you write, unless the law obliges us;",
        "incidents are made public, and the state of the backups is said plainly;",
        "the terms of use are public, clear, and the same for everyone.",
    ),
    server="The server itself",
    backups="Backups",
    backups_none="Nothing on this site is backed up yet. Keep a copy of what matters to you.",
    backups_some="What is backed up, and what needs no backup:",
    backed_up="backed up",
    not_yet="not backed up yet",
    nothing_kept="nothing to back up",
    software="Software and licences",
    software_text="Everything that runs here is free software: anyone may study it, change it, and run it elsewhere.",
    licence="Licence",
    homepage="project page",
    source="source code",
    maintained="Upkeep",
    upstream={
        "maintained": "maintained", "unmaintained": "no longer maintained by its authors",
        "end of life": "at its end of life, to be replaced",
    },
    privacy_text="What this site knows about you, where it keeps it, for how long, and what you can demand.",
    controller="Controller",
    data="Data that are kept",
    data_text="These data are on the site’s server.",
    no_data="Nothing is kept.",
    where="Where",
    how_long="How long",
    places={"journal": "system journal", "/var/log": "logs of the server", "/": "files on the server"},
    why="Why these data",
    reasons=(
        "Accounts and contents: to give you the service you ask for (GDPR, article 6(1)(b)).",
        "Logs: for the security of the site (article 6(1)(f)), and because French law has hosters keep for a year "
        "what identifies the author of a content (article 6(1)(c)).",
    ),
    cookies="Cookies",
    cookies_text="These pages set no cookie and ask nothing of other sites. Services you sign in to use a cookie for "
    "the time of the session.",
    recipients="Who sees them",
    recipients_text="The people who run the site.",
    processors="And those whose services the site uses, each what passes through them (GDPR, article 13(1)(e)):",
    relay="the mail relay, which carries the site’s mail",
    alarms="the service that carries alarms to the admins",
    recipients_law="No program installed here passes your data on for commercial ends. Courts may ask for them in the "
    "ways the law provides.",
    rights="Your rights",
    rights_text="The General Data Protection Regulation (GDPR, articles 15 to 21) gives you the right",
    rights_list=(
        "to know what is kept about you, and to have a copy of it;",
        "to have it corrected;",
        "to have it erased;",
        "to have its use suspended, or to object to it;",
        "to take your data with you in a machine-readable format.",
    ),
    rights_how="Write to the address below: the answer comes within a month.",
    complaint="If the answer does not satisfy you, you may complain to the French authority, CNIL: "
    "www.cnil.fr.",
    errors={
        "404": ("Page not found", "This page does not exist."),
        "403": ("Access denied", "This page is not open to the public."),
        "50x": ("Breakdown", "Something has broken down on our side. Try again in a few minutes."),
    },
    back="Back to the front page",
    hosted="Hosted with houblon, free software.",
)

WORDS: Mapping[str, Words] = {"fr": FRENCH, "en": ENGLISH}
