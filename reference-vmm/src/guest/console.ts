import { COMMAND_FILE, COMMAND_PORTS } from './init.ts';

/** What the guest says on the control port when what is typed at the console is read, and not thrown away any more. */
export const CONSOLE_READY = 'console\n';

const { control } = COMMAND_PORTS;

/**
 * What the shell at the console reads first. login has thrown away by then what was typed before.
 */
export const SHELL_PROFILE: string = `[ "$(cat /proc/$PPID/comm)" = login ] && for port in /dev/vport*p${control.id}; do echo console >"$port"; done
`;

/**
 * For the first process: runs the command at the console instead of with pipes, in a PID namespace of its own as always. In that
 * order, so that keys that make signals end the command alone: the shell around it, which would take its own end for the
 * command's, only notes them, and a command does not inherit that.
 */
export const TERMINAL_SETUP: string = `tries=0
until [ -c /dev/hvc0 ] && [ -n "$(cat /sys/class/virtio-ports/vport*p${control.id}/name 2>/dev/null)" ] || [ $tries -eq 2000 ]; do
  usleep 5000
  tries=$((tries + 1))
done
stty -F /dev/hvc0 sane
for port in /dev/vport*p${control.id}; do echo console >"$port"; done
cd /root
unshare --fork --pid --mount-proc setsid -c sh -c 'trap : INT QUIT; . /${COMMAND_FILE}' </dev/hvc0 >/dev/hvc0 2>&1
code=$?
exec 3<>"$port"
echo "exit $code" >&3
read -r _ <&3
poweroff -f`;
