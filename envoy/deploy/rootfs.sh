#!/bin/sh
# A root file system for one program: itself as /PROGRAM, the libraries that it is linked to, and the certificates of
# authorities. `rootfs.sh PROGRAM FOLDER`
set -eu
program=$1
root=$2

mkdir -p "$root/etc/ssl/certs" "$root/var/lib/countersign" "$root/etc/countersign" "$root/tmp"
install -m 755 "$program" "$root/$(basename "$program")"
# ldd names the libraries by where they are found, and the loader by where the program looks for it.
ldd "$program" | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) (0x.*/\1/p' | while read -r library; do
    install -D -m 755 "$library" "$root$library"
done
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
printf 'countersign:x:65532:65532::/var/lib/countersign:/countersign\n' > "$root/etc/passwd"
printf 'countersign:x:65532:\n' > "$root/etc/group"
chown 65532:65532 "$root/var/lib/countersign" 2>/dev/null || [ "$(id -u)" != 0 ]
chmod 1777 "$root/tmp"
