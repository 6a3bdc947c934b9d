import events from './events.mjs';
import handles from './handles.mjs';
import memory from './memory.mjs';
import vcpu from './vcpu.mjs';

/** Every case of the addon's contract that needs /dev/kvm, as [name, function]. */
export function loadCases(native) {
  return [handles, memory, vcpu, events].flatMap((cases) => Object.entries(cases(native)));
}
