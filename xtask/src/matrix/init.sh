#!/bin/busybox sh
# Process 1 of an emulated kernel: this machine's files read-only, fresh places to write, one script.
B=/bin/busybox
$B mount -t proc proc /proc
$B mount -t sysfs sys /sys
$B mount -t devtmpfs dev /dev
for module in /modules/*.ko; do $B insmod "$module" 2>/dev/null; done
$B mount -t 9p -o trans=virtio,version=9p2000.L,msize=1048576,ro,cache=loose hostroot /newroot || {
  echo "the machine's files cannot be mounted" >/dev/ttyS1
  $B poweroff -f
}
cd /newroot
$B mount -t proc proc proc
$B mount -t sysfs sys sys
$B mount -t devtmpfs dev dev
$B mount -t bpf bpf sys/fs/bpf
$B mount -t cgroup2 cgroup sys/fs/cgroup
$B mount -t securityfs security sys/kernel/security 2>/dev/null
for folder in tmp run var/tmp root; do $B mount -t tmpfs tmpfs $folder; done
$B mkdir -p dev/pts dev/shm
$B mount -t devpts pts dev/pts
$B mount -t tmpfs shm dev/shm
$B ip link set lo up
export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
$B chroot . /bin/sh @SCRIPT@ >/dev/ttyS1 2>&1
echo "@END@ $?" >/dev/ttyS1
$B sync
$B poweroff -f
