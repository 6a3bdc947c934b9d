# Second stage of the rig's first process: mounts, modules, then the command between three ports. Each output
# port ends with the run's token; the control port says "ready", and at the end the exit code.
B=/bin/busybox
$B mount -t proc proc /proc
$B mount -t sysfs sysfs /sys
export PATH=/usr/bin:/usr/sbin
while read -r module; do insmod "/rig/modules.d/$module.ko"; done </rig/modules
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t debugfs debugfs /sys/kernel/debug
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
ln -s /proc/self/fd /dev/fd
ln -s fd/0 /dev/stdin
ln -s fd/1 /dev/stdout
ln -s fd/2 /dev/stderr
mkdir -p /dev/net
ip link set lo up
hostname rig
. /rig/run/settings
until [ -c /dev/vport0p4 ]; do usleep 2000; done
exec 9<>/dev/vport0p4
echo ready >&9
{
  { cat /dev/vport0p1 2>&- 3>&- 9>&- & } |
  { unshare --fork --pid --mount-proc sh /rig/run/command 2>&3 3>&- 9>&-; echo $? >/run/code; } |
  { cat; echo -n "$token"; } >/dev/vport0p2 3>&- 9>&-
} 3>&1 | { cat; echo -n "$token"; } >/dev/vport0p3 9>&-
read -r code </run/code
echo "exit $code" >&9
# The other side ends the machine.
while :; do sleep 1000; done
