#!/bin/sh
# A root folder with Python, a shell and what programs in C need, as a tar on standard output: what images
# are made FROM where no image can be pulled. Made of Debian 12's packages, which are unpacked and not
# configured.
# Arguments: more packages of Debian.
set -eu
packages=base-files,base-passwd,bash,coreutils,dash,libc-bin,libstdc++6,mawk,netcat-openbsd,python3,python3-venv,sed
for package in "$@"; do packages=$packages,$package; done
# What a package's own scripts would have done, and is needed.
users='cp "$1/usr/share/base-passwd/passwd.master" "$1/etc/passwd" && cp "$1/usr/share/base-passwd/group.master" "$1/etc/group"'
tools='ln -s nc.openbsd "$1/bin/nc" && ln -s mawk "$1/usr/bin/awk"'
exec mmdebstrap --quiet --variant=extract --format=tar --include="$packages" \
    --aptopt='Apt::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --extract-hook="$users" --extract-hook="$tools" \
    bookworm -
