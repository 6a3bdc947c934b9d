import type { VmRun } from '../vm-run.ts';
import type { SnapshotOptions } from './restore.ts';
import { type SnapshotInfo, writeSnapshot } from './save.ts';
import { saveConfig } from './saved-config.ts';

/** Makes a snapshot of a VM that runs or is paused. @throws as `Vmm.snapshot` */
export async function takeSnapshot(
  run: VmRun,
  directory: string,
  options: SnapshotOptions,
): Promise<SnapshotInfo> {
  return await run.lifecycle.inTurn(
    () =>
      run.readers.run(options.signal, async (signal) => {
        run.lifecycle.check('snapshot');
        const { hypervisor, machine, devices, cmdline, pageLog } = run.parts;
        const config = saveConfig(run.parts.config);
        const running = run.lifecycle.state === 'running';
        const subject = {
          memory: machine.memory,
          log: pageLog,
          freeze: async (): Promise<void> => {
            if (running) await run.pause();
          },
          save: () => ({
            hypervisor: hypervisor.name,
            arch: hypervisor.arch,
            config,
            cmdline,
            machine: machine.save(),
            devices: devices.save(),
          }),
          thaw: (): void => {
            // Not when it was stopped meanwhile.
            if (running && run.lifecycle.allows('resume')) run.resume();
          },
        };
        const { base, track = false, onProgress } = options;
        return await writeSnapshot(directory, subject, { base, track, onProgress, signal });
      }),
    options.signal,
  );
}
