#!/bin/busybox sh
# The first program of the guest: all of it. It says on the console what it finds and then does what the kernel's
# command line says: gantry.then=poweroff, wait (for the power button) or count; gantry.files=UUID=... is the file
# system that it was started from.
busybox mount -t devtmpfs devtmpfs /dev
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys

say() { echo "gantry guest: $*"; }

option() {
	for word in $(cat /proc/cmdline); do
		case $word in "gantry.$1="*) echo "${word#*=}" ;; esac
	done
}

say "up $(uname -r) $(cat /proc/cmdline)"
for name in $(cat /modules/order); do
	insmod "/modules/$name" || say "no module $name"
done

# Disks are found while the drivers' threads look for them.
tries=0
until device=$(findfs "$(option files)" 2>/dev/null); do
	tries=$((tries + 1))
	[ $tries -lt 600 ] || { say "no file system $(option files)"; break; }
	usleep 50000
done

for disk in /sys/block/*; do
	case ${disk##*/} in
		hd* | nvme* | sd* | sr* | vd*) say "disk ${disk##*/} $(cat "$disk/size")" ;;
	esac
done
if [ -n "$device" ]; then
	mount -r "$device" /files && cd /files && sha256sum -c -s /sums && say "files are whole on ${device#/dev/}"
	cd / && umount /files
fi
# A background that no text has: whoever looks at the screen sees that it was the guest.
[ -c /dev/tty1 ] && printf '\033[?25l\033[44m\033[2J' >/dev/tty1

# The button is listened to before anybody is told that it is: what is pressed from then on is kept by the kernel.
for event in /sys/class/input/event*; do
	[ "$(cat "$event/device/name")" != 'Power Button' ] || exec 3<"/dev/input/${event##*/}"
done
end() {
	say "powers off"
	sync
	poweroff -f
}
# An event of the kernel's has 24 bytes.
end_by_button() {
	dd bs=24 count=1 <&3 >/dev/null 2>&1 || say "no power button"
	end
}

count_on_disks() {
	count=0
	while :; do
		count=$((count + 1))
		for disk in /sys/block/*; do
			case ${disk##*/} in
				hd* | nvme* | sd* | vd*)
					printf '%-512s' "gantry count $count" |
						dd of="/dev/${disk##*/}" bs=512 seek=2047 count=1 oflag=direct conv=notrunc 2>/dev/null
					;;
			esac
		done
		[ $count -ne 1 ] || say "counts"
	done
}

case $(option then) in
wait)
	say "waits for the power button"
	end_by_button
	;;
count)
	count_on_disks &
	end_by_button
	;;
*) end ;;
esac
