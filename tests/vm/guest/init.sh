#!/bin/busybox sh
# The guest's first process, in memory: finds the disk, or makes a root in memory, adds the job's files to it and goes on there.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
for module in /modules/*; do insmod "$module" || echo "init: $module was not loaded"; done
if [ -e /in-memory ]; then
    mount -t tmpfs -o mode=755 root /disk || exec echo "init: there is no memory for a root"
else
    tries=0
    until [ -b /dev/vda ] || [ $tries = 100 ]; do
        tries=$((tries + 1))
        usleep 100000
    done
    mount -t ext4 /dev/vda /disk || exec echo "init: the disk cannot be mounted"
fi
cp -a /job/. /disk/
mount --move /dev /disk/dev
umount /proc
exec switch_root /disk "$@" /usr/lib/outrigger-vm/start
