import { jest } from '@jest/globals';

// Only a hang reaches it: a busy machine makes tests slow, and slow is not wrong.
jest.setTimeout(120_000);
