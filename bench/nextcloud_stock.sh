#!/bin/sh
# Runs on the lab host of nextcloud.py: a second way to the same Nextcloud, as Debian's packages come.
# $1: the name it is served at.
set -eu
fqdn=$1
version=$(ls /etc/php | head -n 1)
pg=$(ls /etc/postgresql | head -n 1)
user=nextcloud

# Debian's pool.d/www.conf without its comments. Another user than www-data, or the files could not be read.
cat >"/etc/php/$version/fpm/pool.d/www.conf" <<END
[www]
user = $user
group = $user
listen = /run/php/php$version-fpm.sock
listen.owner = www-data
listen.group = www-data
pm = dynamic
pm.max_children = 5
pm.start_servers = 2
pm.min_spare_servers = 1
pm.max_spare_servers = 3
env[NEXTCLOUD_CONFIG_DIR] = /srv/nextcloud/config-stock
END
systemctl restart php$version-fpm

# A cluster as pg_createcluster makes it, with a copy of the database.
pg_createcluster --port 5433 $pg stock >/dev/null
systemctl start postgresql@$pg-stock
cd /
runuser -u postgres -- createuser -p 5433 $user
runuser -u postgres -- createdb -p 5433 -O $user $user
runuser -u postgres -- pg_dump -Fc $user | runuser -u postgres -- pg_restore -p 5433 -d $user
runuser -u postgres -- psql -q -p 5433 -d $user -c "GRANT ALL ON SCHEMA public TO $user; ANALYZE"

# The same settings but for what makes it fast. log_type and all else stay, so that both do the same work.
cp -a /srv/nextcloud/config /srv/nextcloud/config-stock

php$version -r '
    $file = $argv[1];
    require $file;
    foreach (["memcache.local", "memcache.distributed", "memcache.locking", "memcache_customprefix", "redis"] as $key) {
        unset($CONFIG[$key]);
    }
    $CONFIG["dbhost"] = "/run/postgresql:5433";
    file_put_contents($file, "<?php\n\$CONFIG = " . var_export($CONFIG, true) . ";\n");
' /srv/nextcloud/config-stock/houblon.config.php
php$version -r '
    $file = $argv[1];
    require $file;
    foreach (["memcache.local", "memcache.distributed", "memcache.locking", "memcache_customprefix", "redis", "dbhost"] as $key) {
        unset($CONFIG[$key]);
    }
    file_put_contents($file, "<?php\n\$CONFIG = " . var_export($CONFIG, true) . ";\n");
' /srv/nextcloud/config-stock/config.php
rm -f /srv/nextcloud/config-stock/houblon-host.config.php

# Both through the same server block on ports of their own, without the limit of requests.
vhost=/etc/nginx/houblon/vhosts/$fqdn.conf
: >/etc/nginx/conf.d/bench.conf
for side in 8443 8444; do
    awk '/^server \{/ { count++ } count == 2' "$vhost" |
        sed -e "s|include /etc/nginx/houblon/host/https.conf;|listen 127.0.0.1:$side ssl;|" -e '/limit_req /d' \
            >/etc/nginx/conf.d/bench-$side.conf
done
sed -i "s|fastcgi_pass .*|fastcgi_pass unix:/run/php/php$version-fpm.sock;|" /etc/nginx/conf.d/bench-8444.conf
nginx -t -q
systemctl reload nginx
