import { workerData } from 'node:worker_threads';
import type { VcpuThreadConfig } from '../thread.ts';
import { runVcpuThread } from '../thread.ts';
import { createThreadClock } from './clock.ts';

// Made by startThread() of host.ts.
runVcpuThread(workerData as VcpuThreadConfig, createThreadClock());
