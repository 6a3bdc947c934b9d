import type { X86Vm } from '@vmm/hypervisor';
import { IrqChipError } from './errors.ts';
import type { InterruptLine, Trigger } from './irq-chip.ts';
import { type InputSet, Line, type LineEnd } from './lines.ts';

/** How a device has its line. */
export interface GsiLineOptions {
  /**
   * For level-triggered lines: the line goes low by itself when the guest has ended the interrupt, and this runs on the
   * owner's event loop, for the device to raise it again if it still has a reason.
   */
  readonly onResample?: () => void;
}

/** @throws IrqChipError `INVALID_ARGUMENT` */
export function checkResample(trigger: Trigger, options: GsiLineOptions): GsiLineOptions {
  if (trigger === 'edge' && options.onResample !== undefined) {
    throw new IrqChipError('INVALID_ARGUMENT', 'an edge-triggered line has no end to resample at');
  }
  return options;
}

/** Takes an input and makes the line for it; the input is free again when `end` throws. */
export function makeLine(set: InputSet, gsi: number, end: () => LineEnd): InterruptLine {
  set.take(gsi);
  try {
    return new Line(gsi, end(), () => set.free(gsi));
  } catch (error) {
    set.free(gsi);
    throw error;
  }
}

type InterruptMaker = Pick<X86Vm, 'createInterrupt'>;

/** A rising level is an edge, as the pin of the controller sees it. */
export function edgeEnd(
  vm: InterruptMaker,
  gsi: number,
  raise: (interrupt: () => void) => void = (interrupt) => interrupt(),
): LineEnd {
  const interrupt = vm.createInterrupt(gsi);
  const trigger = (): void => interrupt.trigger();
  let level = false;
  return {
    trigger: () => raise(trigger),
    setLevel: (high) => {
      if (high && !level) raise(trigger);
      level = high;
    },
    close: () => interrupt[Symbol.dispose](),
  };
}

/** Only the end of the interrupt makes it low, in the hypervisor. */
export function resampledEnd(vm: InterruptMaker, gsi: number, onResample: () => void): LineEnd {
  const interrupt = vm.createInterrupt(gsi, onResample);
  return {
    trigger: () => interrupt.trigger(),
    setLevel: (high) => {
      if (high) interrupt.trigger();
    },
    close: () => interrupt[Symbol.dispose](),
  };
}
