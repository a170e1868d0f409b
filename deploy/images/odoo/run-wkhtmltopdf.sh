#!/bin/sh
# Runs wkhtmltopdf (or wkhtmltoimage, by the name it is called by) on the libraries and the loader that it was built against.
home=/opt/wkhtmltopdf
export QT_QPA_PLATFORM=offscreen
export QT_PLUGIN_PATH=$home/plugins
export XDG_RUNTIME_DIR="${TMPDIR:-/tmp}"
export XDG_CACHE_HOME="${TMPDIR:-/tmp}"
exec "$home/lib/loader" --library-path "$home/lib" "$home/bin/${0##*/}" "$@"
