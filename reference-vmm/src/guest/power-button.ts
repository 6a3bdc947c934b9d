import type { Architecture } from '../machine/machine.ts';
import type { GuestModule } from './guest.ts';
import { AGENT_FILE, COMMAND_FILE } from './init.ts';

/** What makes a key of the power button, where the kernel has not built it in. arm64's is a pin, which needs no driver. */
export function powerButtonDrivers(arch: Architecture): readonly GuestModule[] {
  return arch === 'x86_64' ? ['button', 'evdev'] : [];
}

/**
 * For the first process: waits for the power button beside everything else. The command is told to end, once, as its code
 * is the VM's; where there is none, the first process powers off. Processes of the command are those that have another
 * PID namespace than the first process, whose name space all of /proc is seen from. The first of that namespace is the
 * shell that starts the command: the kernel keeps signals from it that it does not handle, so it does not count, and who
 * presses while there is nothing else presses again.
 */
export const POWER_BUTTON_SETUP: string = `if [ -x /${AGENT_FILE} ]; then
  (
    told=
    while /${AGENT_FILE} --power-button; do
      [ -f /${COMMAND_FILE} ] || { kill -USR2 1; continue; }
      [ -z "$told" ] || continue
      for process in /proc/[0-9]*; do
        [ -e $process/ns/pid ] || continue
        [ $process/ns/pid -ef /proc/1/ns/pid ] && continue
        set -- $(grep ^NSpid: $process/status)
        [ "$#:$3" = 3:1 ] || { kill -TERM "\${process#/proc/}" && told=yes; }
      done
    done
  ) </dev/null >/dev/null 2>&1 &
fi`;
