#!/usr/bin/env bash
# collect-wkhtmltopdf.sh TARGET copies wkhtmltopdf, its Qt plugins, the libraries of both and the dynamic loader into one directory.
set -euo pipefail

target=$1
mkdir -p "$target"/{bin,lib,plugins/platforms}

multiarch=/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || printf '%s-linux-gnu' "$(uname -m)")
cp -L /usr/bin/wkhtmltopdf /usr/bin/wkhtmltoimage "$target/bin/"
cp "$multiarch/qt5/plugins/platforms/libqoffscreen.so" "$target/plugins/platforms/"
cp -r "$multiarch/qt5/plugins/imageformats" "$target/plugins/"

find "$target/bin" "$target/plugins" -type f -exec ldd '{}' + |
	awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u | xargs -I '{}' cp -L '{}' "$target/lib/"
# Loaded by name at run time, so ldd does not list them: TLS for images by https, and name look-ups.
cp -L "$multiarch"/libssl.so.3 "$multiarch"/libcrypto.so.3 "$multiarch"/libnss_{dns,files}.so.2 "$target/lib/"
cp -L "$(ldd /usr/bin/wkhtmltopdf | awk '/ld-linux/ { print $1; exit }')" "$target/lib/loader"
