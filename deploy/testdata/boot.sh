# SPDX-License-Identifier: Apache-2.0
#
# Boots systemd in namespaces of its own, on what this machine has installed, with
# the unit pidgraft-audit.service: boot.sh DIR PROGRAM UNIT. What it writes is in
# memory, and gone with its mount namespace.
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
cd "$1"
mkdir upper work root
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root
cp "$2" root/usr/bin/pidgraft
units=root/etc/systemd/system
cp "$3" $units/pidgraft-audit.service
# What belongs to the machine, and not to the namespaces, is left alone.
for unit in systemd-binfmt.service proc-sys-fs-binfmt_misc.automount sys-kernel-debug.mount sys-kernel-tracing.mount \
	dev-hugepages.mount dev-mqueue.mount systemd-modules-load.service systemd-remount-fs.service systemd-udevd.service \
	systemd-udev-trigger.service systemd-sysctl.service systemd-random-seed.service systemd-pstore.service; do
	ln -sf /dev/null $units/$unit
done
cat >$units/try.target <<'T'
[Unit]
Requires=pidgraft-audit.service
After=pidgraft-audit.service
T
mount -t proc proc root/proc
mount --rbind /sys root/sys
mount --rbind /dev root/dev
mount --bind /dev/null root/dev/console
mount -t cgroup2 cgroup2 root/sys/fs/cgroup
mount -t tmpfs tmpfs root/run
mount -t tmpfs tmpfs root/tmp
exec chroot root /usr/bin/env -i container=oci PATH=/usr/sbin:/usr/bin:/sbin:/bin \
	/lib/systemd/systemd --system --unit=try.target --log-target=console --show-status=0
