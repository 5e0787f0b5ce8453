"""What the eye says, in English and in French. Standard library only: it goes to hosts as it is."""

from __future__ import annotations

TEXTS = {
    "up": ("answers", "répond"),
    "offline": ("this machine is offline itself", "cette machine est elle-même hors ligne"),
    "no name": ("its name leads nowhere: {0}", "son nom ne mène nulle part : {0}"),
    "no answer": ("{0} does not answer: {1}", "{0} ne répond pas : {1}"),
    "certificate": ("{0}: {1}", "{0} : {1}"),
    "timeout": ("no answer in time", "pas de réponse à temps"),
    "refused": ("connection refused", "connexion refusée"),
    "unreachable": ("no way leads there", "aucun chemin n'y mène"),
    "expired": ("its certificate has expired", "son certificat a expiré"),
    "wrong name": ("its certificate is for another name", "son certificat est celui d'un autre nom"),
    "untrusted": ("nobody vouches for its certificate", "personne ne garantit son certificat"),
    "renewal": ("its certificate is not renewed, {0} days are left",
                "son certificat n'est pas renouvelé, il reste {0} jours"),
    "page": ("its front page answers {0}", "sa page d'accueil répond {0}"),
    "no page": ("its front page does not come: {0}", "sa page d'accueil ne vient pas : {0}"),
    "no heartbeat": ("it has no heartbeat: {0}", "il n'a pas de pouls : {0}"),
    "garbage": ("nobody can read it", "il est illisible"),
    "old": ("it answers, but has not looked after itself for {0} minutes",
            "il répond, mais ne s'est pas surveillé depuis {0} minutes"),
    "future": ("it comes from the future", "il vient du futur"),
    "says": ("it says of itself: {0}", "il dit de lui-même : {0}"),
    "ill": ("it says of itself that it is ill", "il dit lui-même qu'il est malade"),
    "well again": ("{0} is well again", "{0} va de nouveau bien"),
    "is ill": ("{0} is ill", "{0} est malade"),
    "is silent": ("{0} is silent", "{0} ne répond plus"),
    "told": ("{0} {1}: {2}.", "{0} {1} : {2}."),
    "test": ("This is a test of houblon watch: alarms arrive here.",
             "Ceci est un essai de houblon watch : les alertes arrivent ici."),
    "since": ("since {0}", "depuis le {0}"),
    "asleep": ("nobody has looked at other sites since {0}", "personne n'a regardé les autres sites depuis le {0}"),
    "never": ("nobody has looked at other sites yet", "personne n'a encore regardé les autres sites"),
    "cut off": ("this host is offline, or finds nobody who proves the contrary, since {0}",
                "cet hôte est hors ligne, ou personne ne prouve le contraire, depuis le {0}"),
    "unseen": ("from this host nobody can tell how {0} is, since {1}: has it no way there, such as IPv6?",
               "d'ici, personne ne peut dire comment va {0}, depuis le {1} : aucun chemin, par exemple en IPv6 ?"),
}  # fmt: skip


def say(language: str, key: str, *values: object) -> str:
    """A sentence in one of the two languages."""
    return TEXTS[key][language == "fr"].format(*values)
