#!/bin/sh
# The first process on the guest's disk: what programs expect of a machine, then the job.
# One word says how to come up: script, or systemd.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH HOME=/root OUTRIGGER_TEST_EMULATED=1
own=/usr/lib/outrigger-vm
echo guest >/etc/hostname
echo '127.0.0.1 localhost guest' >/etc/hosts
if [ "$(cat $own/boot)" = systemd ]; then
    mount -t proc proc /proc
    [ ! -x $own/setup ] || $own/setup >/dev/ttyS1 2>&1
    exec /sbin/init
fi
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devpts devpts /dev/pts -o newinstance,ptmxmode=0666 2>/dev/null || {
    mkdir -p /dev/pts
    mount -t devpts devpts /dev/pts
}
mount -t tmpfs run /run
mkdir -p /run/lock /dev/shm
mount -t tmpfs shm /dev/shm
mount -t cgroup2 cgroup /sys/fs/cgroup
echo '+memory +cpu +pids +io' >/sys/fs/cgroup/cgroup.subtree_control
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracing /sys/kernel/tracing
mount -t securityfs security /sys/kernel/security
$own/busybox hostname guest
$own/busybox ifconfig lo 127.0.0.1 up
stty -F /dev/ttyS1 -echo -onlcr
exec </dev/null >/dev/ttyS1 2>&1
echo "OUTRIGGER-UP $(cut -d' ' -f1 /proc/uptime)"
cd /root && $own/command
echo "OUTRIGGER-EXIT $?"
# Nothing on the disk is worth keeping. One that has slept cannot be turned off any more; a reboot ends it as well.
[ "$(cat /sys/power/suspend_stats/success)" = 0 ] || $own/busybox reboot -f
$own/busybox poweroff -f
