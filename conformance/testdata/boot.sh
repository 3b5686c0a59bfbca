# Boots a real systemd in namespaces of its own: called by unshare with the directory that units and tests share.
# Everything that systemd or its tmpfiles could write to is fresh, the root is read-only, and no unit of the
# distribution is pulled in: without this the host's /tmp would be emptied.
set -e
scratch=$1
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/stash
mount --bind "$scratch" /run/stash
mount -t tmpfs -o mode=1777 tmpfs /tmp
mkdir -p "$scratch"
mount --bind /run/stash "$scratch"
umount /run/stash
mount -t tmpfs -o mode=1777 tmpfs /var/tmp
for dir in /var/log /var/lib/systemd /etc/systemd/system; do
	mount -t tmpfs -o mode=755 tmpfs "$dir"
done
mount -o remount,bind,ro /
# Among themselves, not with the host: what mounts a service's credentials does so in a namespace below.
mount --make-rshared /
mkdir -p /run/systemd/system
for unit in tmpfiles-setup.service tmpfiles-setup-dev.service tmpfiles-clean.service tmpfiles-clean.timer \
	sysctl.service journald.service journald.socket journald-dev-log.socket journald-audit.socket \
	journal-flush.service udevd.service udevd-control.socket udevd-kernel.socket udev-trigger.service \
	remount-fs.service update-utmp.service random-seed.service modules-load.service machine-id-commit.service; do
	ln -s /dev/null "/run/systemd/system/systemd-$unit"
done
printf '[Unit]\nDefaultDependencies=no\n' >/run/systemd/system/conformance.target
export container=lxc
exec /lib/systemd/systemd --unit=conformance.target --log-target=console --show-status=no
