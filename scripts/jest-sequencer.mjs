import TestSequencer from '@jest/test-sequencer';

/** Emulated machines with KVM: most of the time of a run is theirs, and they leave one core free. */
const LONG = ['kvm', 'kvm-compliance', 'library-control', 'pause', 'rig-devices', 'rig'].map(
  (name) => `/integration-tests/src/${name}.test.ts`,
);

/** The longest first, then whole VMs, then the rest: nothing long begins when all else is done. */
export default class LongestFirst extends TestSequencer {
  sort(tests) {
    const place = (path) => {
      const long = LONG.findIndex((each) => path.endsWith(each));
      if (long >= 0) return long;
      return LONG.length + (path.includes('/integration-tests/') ? 0 : 1);
    };
    return [...super.sort(tests)].sort((a, b) => place(a.path) - place(b.path));
  }
}
