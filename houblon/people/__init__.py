"""The people of a site: their accounts, groups, invitations, and the way out.

People are data, not configuration: they live in the directory on the host (`houblon.directory`), not in the site
file, and `houblon apply` never touches them. Everything is LDIF (RFC 2849) on the standard input of Debian's
ldap-utils on the host; no name ever becomes part of a shell command.
"""
