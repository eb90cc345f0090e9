/** Who is measured. `bare` is the same work without any engine: the kernel alone. */
export const contestants = {
  bare: 'bare host',
  skein: 'Skein',
  'skein-variant': 'Skein with flags',
  dockerd: 'dockerd',
} as const;
export type Contestant = keyof typeof contestants;
