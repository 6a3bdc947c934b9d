/** How a VM ended. */
export type StopReason =
  /** The built-in guest's command or shell ended with this code. */
  | { readonly kind: 'exited'; readonly code: number }
  /** The guest powered itself off. */
  | { readonly kind: 'shutdown' }
  /** The guest asked for a reset. */
  | { readonly kind: 'reset' }
  /** The guest's kernel panicked with this message. */
  | { readonly kind: 'panic'; readonly message: string }
  /** {@link Vmm.stop} ended it. */
  | { readonly kind: 'stopped' }
  /** A vCPU could not go on. */
  | { readonly kind: 'failed'; readonly message: string };
