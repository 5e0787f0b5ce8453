"""php.ini of a pool: text from a claim. PHP's manual says what each setting does: https://www.php.net/manual/ini.list.php"""

from __future__ import annotations

from houblon.contract import PhpPool

COMMON = frozenset({
    "calendar", "ctype", "exif", "ffi", "fileinfo", "ftp", "gettext", "iconv", "pdo", "phar", "posix", "shmop",
    "sockets", "sysvmsg", "sysvsem", "sysvshm", "tokenizer",
})  # fmt: skip
"""Extensions of Debian's php-common package: no package of their own."""
ALWAYS = ("pdo", "ctype", "exif", "fileinfo", "iconv", "posix", "sysvsem", "tokenizer")
"""Of those, what every pool loads; each is pure computation, or, like semaphores, bounded by the pool's own unit."""
MODULES = {
    "cli": (),
    "fpm": (),
    "opcache": (),
    "xml": ("xml", "dom", "simplexml", "xmlreader", "xmlwriter", "xsl"),
    "pgsql": ("pgsql", "pdo_pgsql"),
    "mysql": ("mysqlnd", "mysqli", "pdo_mysql"),
    "sqlite3": ("sqlite3", "pdo_sqlite"),
    "redis": ("igbinary", "redis"),
    "memcached": ("igbinary", "msgpack", "memcached"),
}
"""Modules in the package of an extension, in the order they are loaded in; for others it is one of the same name."""

SYSTEM = ("opcache.", "apc.", "pcre.", "realpath_cache", "disable_", "zend.")
"""Beginnings of settings that are read once, when the server starts: a pool file cannot set them."""

DISABLED = (
    "exec", "passthru", "popen", "proc_open", "shell_exec", "system", "pcntl_exec", "pcntl_fork", "dl", "mail",
    "phpinfo", "posix_kill", "posix_mkfifo", "posix_setgid", "posix_setuid", "proc_nice", "symlink", "link",
)  # fmt: skip
"""Functions that web programs have no need of and who broke into one has. ``mail`` runs a program too."""


def modules(pool: PhpPool) -> list[str]:
    """What the pool loads besides OPcache, in order, each once."""
    asked = [one for name in pool.extensions for one in MODULES.get(name, (name,))]
    return list(dict.fromkeys((*ALWAYS, *asked)))


def settings(pool: PhpPool, data: str, skip: str) -> dict[str, str]:
    """All settings of a pool; the claim's own come last.

    :param data: the pool's directory; the temporary directory and sessions are below it.
    :param skip: file with the names of PHP files that are not kept compiled.
    """
    return {
        "open_basedir": ":".join(("/opt/", *(f"{path.rstrip('/')}/" for path in pool.paths), f"{data}/")),
        "disable_functions": ",".join(DISABLED),
        "expose_php": "0",
        # Files next to programs would set what the claim does not know of.
        "user_ini.filename": "",
        "short_open_tag": "0",
        "output_buffering": "0",
        "memory_limit": "128M",
        "max_execution_time": "60",
        "max_input_time": "600",
        "post_max_size": "8M",
        "upload_max_filesize": "8M",
        "upload_tmp_dir": f"{data}/tmp",  # noqa: S108 - below a directory of the pool's own
        "sys_temp_dir": f"{data}/tmp",  # noqa: S108
        "enable_dl": "0",
        "allow_url_include": "0",
        "variables_order": "GPCS",
        "request_order": "GP",
        "register_argc_argv": "0",
        "cgi.fix_pathinfo": "0",
        "error_reporting": "E_ALL & ~E_DEPRECATED",
        "display_errors": "0",
        "display_startup_errors": "0",
        "log_errors": "1",
        "error_log": "syslog",
        "syslog.ident": f"php-{pool.name}",
        # Arguments of functions in a log are passwords sooner or later.
        "zend.exception_ignore_args": "1",
        "zend.assertions": "-1",
        "sendmail_path": "/bin/false",
        "session.save_handler": "files",
        "session.save_path": f"{data}/sessions",
        "session.use_strict_mode": "1",
        "session.use_only_cookies": "1",
        "session.cookie_secure": "1",
        "session.cookie_httponly": "1",
        "session.cookie_samesite": "Lax",
        "session.gc_maxlifetime": "86400",
        "session.gc_probability": "1",
        "session.gc_divisor": "1000",
        # It writes code into memory and runs it, which the unit forbids (MemoryDenyWriteExecute).
        "pcre.jit": "0",
        "opcache.jit": "disable",
        "opcache.enable": "1",
        "opcache.memory_consumption": "128",
        "opcache.interned_strings_buffer": "32",
        "opcache.max_accelerated_files": "20000",
        "opcache.blacklist_filename": skip,
        **dict(pool.settings),
    }


def text(pool: PhpPool, data: str, skip: str) -> str:
    """The whole php.ini."""
    lines = ["; Written by houblon (role php).", "[PHP]", "zend_extension = opcache"]
    lines += [f"extension = {name}" for name in modules(pool)]
    lines += [f"{key} = {quoted(value)}" for key, value in settings(pool, data, skip).items()]
    return "\n".join(lines) + "\n"


def enforced(pool: PhpPool) -> dict[str, str]:
    """Settings of the claim that a pool file can hold, where programs cannot change them."""
    return {key: quoted(value) for key, value in pool.settings if not key.startswith(SYSTEM)}


def session_days(pool: PhpPool) -> int:
    """Days after which a session that nobody has used is deleted, whatever PHP did."""
    seconds = int(dict(pool.settings).get("session.gc_maxlifetime", "86400"))
    return -(-seconds // 86400) + 1


def quoted(value: str) -> str:
    """As a string of an ini file; constants of `error_reporting` stay bare.

    :raises ValueError: PHP would read something else, a variable's value or a second line.
    """
    if "${" in value or not value.isprintable():
        raise ValueError(f"{value!r} cannot stand in an ini file")
    if value.startswith("E_"):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
