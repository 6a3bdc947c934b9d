/** Ports of the console device that carry a command's standard streams, by port number. */
export const COMMAND_PORTS = {
  stdin: { id: 1, name: 'vmm.stdin' },
  stdout: { id: 2, name: 'vmm.stdout' },
  stderr: { id: 3, name: 'vmm.stderr' },
  control: { id: 4, name: 'vmm.control' },
} as const;

/** The port of the guest's agent. */
export const AGENT_PORT = { id: 5, name: 'vmm.agent' } as const;
/** The agent itself, where the second archive has it. */
export const AGENT_FILE = 'vmm/agent';

/** Where the second archive puts what this run asks of the guest. */
export const COMMAND_FILE = 'vmm/command';
export const HOSTNAME_FILE = 'vmm/hostname';
/** Names of the modules to load, one a line, in this order. */
export const MODULES_FILE = 'vmm/modules';
/** The same, where the second archive has none. */
export const BASE_MODULES_FILE = 'lib/modules/base';
/** A script that the first process reads before the command or the shell: shares, network. */
export const SETUP_FILE = 'vmm/setup';

/** How often the ports are looked for, every 5 ms at most: a kernel without a console device goes on without them. */
const PORT_TRIES = 2000;

/**
 * First process of the built-in guest. With `/vmm/command` it runs that in a PID namespace of its own, so
 * that nothing outlives the command, with pipes between the command and the ports: a port can be opened
 * once only, and scripts open /dev/stdin, /dev/stdout and /dev/stderr anew. Standard input's reader is not
 * waited for, and holds neither output open.
 *
 * @param serialTty device of the first serial port, for a shell without the console device
 */
export function initScript(serialTty: string): string {
  const { stdin, stdout, stderr, control } = COMMAND_PORTS;
  return `#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox mount -t tmpfs tmpfs /tmp
/bin/busybox mount -t tmpfs tmpfs /run
/bin/busybox --install -s
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/root TERM="\${TERM:-linux}"
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
ln -s /proc/self/fd /dev/fd
ln -s fd/0 /dev/stdin
ln -s fd/1 /dev/stdout
ln -s fd/2 /dev/stderr
mount -t tmpfs tmpfs /dev/shm
modules=/${MODULES_FILE}
[ -f $modules ] || modules=/${BASE_MODULES_FILE}
while read -r name; do insmod /lib/modules/$name.ko; done <$modules
[ -f /${HOSTNAME_FILE} ] && hostname -F /${HOSTNAME_FILE}
ip link set lo up 2>/dev/null
if [ -x /${AGENT_FILE} ]; then /${AGENT_FILE} --direct-shutdown </dev/null >/dev/null 2>&1 & fi
[ -f /${SETUP_FILE} ] && . /${SETUP_FILE}
cd /root
# The driver adds ports as the device answers, after insmod came back; the last port has its name when all are open.
ports() {
  for name in /sys/class/virtio-ports/vport*p${control.id}/name; do
    [ -f "$name" ] || continue
    device=\${name#/sys/class/virtio-ports/}
    device=/dev/\${device%p${control.id}/name}
    return 0
  done
  return 1
}
tries=0
until ports || [ $tries -eq ${PORT_TRIES} ]; do usleep 5000; tries=$((tries + 1)); done
if [ -f /${COMMAND_FILE} ]; then
  {
    { cat "\${device}p${stdin.id}" 2>&- 3>&- & } |
    { unshare --fork --pid --mount-proc sh /${COMMAND_FILE} 2>&3 3>&-; echo $? >/run/code; } |
    cat >"\${device}p${stdout.id}" 3>&-
  } 3>&1 | cat >"\${device}p${stderr.id}"
  read -r code </run/code
else
  tty=/dev/hvc0
  [ -c $tty ] || tty=/dev/${serialTty}
  stty -F $tty sane
  # The shell's poweroff, reboot and halt tell the first process by a signal, which wait lets through and a
  # foreground child would not. login, because it gives its shell back the SIGINT that "&" takes away;
  # and without a system log it would report itself on the console.
  trap 'poweroff -f' USR2
  trap 'reboot -f' TERM
  trap 'halt -f' USR1
  syslogd -O /run/messages
  until [ -S /dev/log ]; do usleep 1000; done
  setsid -c login -f root <$tty >$tty 2>&1 &
  wait $!
  code=$?
fi
exec 3<>"\${device}p${control.id}"
echo "exit $code" >&3
read -r _ <&3
poweroff -f
`;
}

/** What busybox's DHCP client calls: it has the lease in its environment. */
export const DHCP_SCRIPT = `#!/bin/sh
case "$1" in
  deconfig) ip addr flush dev "$interface"; ip link set "$interface" up ;;
  bound | renew)
    ip addr replace "$ip/\${mask:-24}" dev "$interface"
    for each in $router; do ip route replace default via "$each" dev "$interface" && break; done
    [ -z "$mtu" ] || ip link set "$interface" mtu "$mtu"
    [ -z "$domain" ] || echo "search $domain" >/etc/resolv.conf.new
    for each in $dns; do echo "nameserver $each" >>/etc/resolv.conf.new; done
    [ ! -f /etc/resolv.conf.new ] || mv /etc/resolv.conf.new /etc/resolv.conf
    ;;
esac
`;

/** The file that runs a command: it is executed, never taken for a word of the shell's own. */
export function commandScript(command: readonly string[]): string {
  const words = command.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ');
  return `( exec ${words} )\nexit $?\n`;
}

/** Lines of a file. */
export function lines(texts: readonly string[]): string {
  return texts.map((text) => `${text}\n`).join('');
}
