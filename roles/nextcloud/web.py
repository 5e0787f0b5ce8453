"""nginx's side of Nextcloud, and what fail2ban looks for. Pure.

After https://docs.nextcloud.com/server/stable/admin_manual/installation/nginx.html. What a browser has no business
with there (cron.php, the updater, the upgrade page) is not served.
"""

from __future__ import annotations

from houblon.roles.nextcloud.paths import APPS, CODE, INSTALLED

STATIC = "css|js|mjs|svg|gif|ico|jpg|png|webp|wasm|tflite|map|ogg|flac|mp4|webm"

# Anchored up to the message: a JSON string ends at the first quotation mark without a backslash, so nothing a visitor
# writes (name, address of the page) can stand in for the address that nginx saw.
FILTER = r"""[INCLUDES]
before = common.conf

[Definition]
_daemon = nextcloud
_text = "(?:[^"\\]|\\.)*"
_head = \{"reqId":%(_text)s,"level":2,"time":%(_text)s,"remoteAddr":"<HOST>"
_place = "user":%(_text)s,"app":%(_text)s,"method":%(_text)s,"url":%(_text)s,"scriptName":%(_text)s
failregex = ^%(__prefix_line)s%(_head)s,%(_place)s,"message":"(?:Login failed:|Two-factor challenge failed:)
"""


def snippet(socket: str, *, plugins: bool) -> str:
    """Directives of the server block.

    :param plugins: apps of other releases are served too.
    """
    extra = f"""\
location ~ ^/apps-extra/(?<houblon_app_file>.+\\.(?:{STATIC}|otf|woff2?))$ {{
    alias {APPS}/$houblon_app_file;
    add_header Cache-Control "public, max-age=604800";
}}
"""
    return f"""\
root {CODE};
index index.php index.html /index.php$request_uri;
include /etc/nginx/mime.types;
types {{
    text/javascript mjs;
}}
# A phone on a slow line may pause between two packets of its upload.
client_body_timeout 300s;
client_body_buffer_size 512k;
more_set_headers "X-Robots-Tag: noindex, nofollow";
more_set_headers "X-Permitted-Cross-Domain-Policies: none";

# Before it is installed there is nothing to see: whoever came first could install it.
if (!-e {INSTALLED}) {{
    return 503;
}}

location = / {{
    # Windows asks the root for WebDAV.
    if ($http_user_agent ~ ^DavClnt) {{
        return 302 /remote.php/webdav/$is_args$args;
    }}
}}
location = /robots.txt {{
    access_log off;
}}
location ^~ /.well-known {{
    location = /.well-known/carddav {{
        return 301 /remote.php/dav/;
    }}
    location = /.well-known/caldav {{
        return 301 /remote.php/dav/;
    }}
    # Nextcloud's own, such as webfinger and nodeinfo.
    return 301 /index.php$request_uri;
}}
location ~ ^/(?:build|tests|config|lib|3rdparty|templates|data|updater)(?:$|/) {{
    return 404;
}}
location ~ ^/(?:\\.|autotest|occ|issue|indie|db_|console) {{
    return 404;
}}
location ~ ^/(?:composer\\.(?:json|lock)|package(?:-lock)?\\.json|core/shipped\\.json)$ {{
    return 404;
}}
{extra if plugins else ""}\
location ~ \\.php(?:$|/) {{
    rewrite ^/(?!index|remote|public|status|ocs/v[12]|ocs-provider/.+) /index.php$request_uri;
    fastcgi_split_path_info ^(.+?\\.php)(/.*)$;
    set $path_info $fastcgi_path_info;
    try_files $fastcgi_script_name =404;
    include /etc/nginx/houblon/php.conf;
    fastcgi_param PATH_INFO $path_info;
    fastcgi_param modHeadersAvailable true;
    fastcgi_param front_controller_active true;
    fastcgi_pass unix:{socket};
    fastcgi_intercept_errors on;
    # An upload is taken in whole before PHP sees it: PHP-FPM makes an empty file of one without a length (chunked
    # transfer), and a slow one would hold a worker. Nextcloud's own programs send large files in pieces.
    fastcgi_request_buffering on;
    fastcgi_max_temp_file_size 0;
    fastcgi_read_timeout 3600s;
}}
location ~ \\.(?:{STATIC})$ {{
    try_files $uri /index.php$request_uri;
    set $houblon_immutable "";
    if ($arg_v) {{
        set $houblon_immutable ", immutable";
    }}
    add_header Cache-Control "public, max-age=15778463$houblon_immutable";
    gzip on;
}}
location ~ \\.(?:otf|woff2?)$ {{
    try_files $uri /index.php$request_uri;
    expires 7d;
}}
location /remote {{
    return 301 /remote.php$request_uri;
}}
location / {{
    try_files $uri $uri/ /index.php$request_uri;
}}"""
