# install.sh APPS: Odoo's own installation, then the assets. Nothing secret is on a command line: odoo.conf has it all.
odoo --no-http --stop-after-init --init "$1"
odoo shell --no-http </etc/odoo/warm.py
find /var/lib/odoo/filestore -mindepth 1 -type d -empty -delete
