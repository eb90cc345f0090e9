/** Names for containers and services that were given none: an adjective and a thing of the weaver's trade. */
const adjectives = ['bright', 'calm', 'brave', 'clever', 'eager', 'fond', 'gentle', 'happy', 'keen', 'lively', 'merry'];
const more = [
  'neat',
  'patient',
  'quick',
  'quiet',
  'sharp',
  'steady',
  'sunny',
  'swift',
  'warm',
  'wise',
  'witty',
  'young',
];
const things = [
  'bobbin',
  'braid',
  'cord',
  'distaff',
  'felt',
  'hank',
  'heddle',
  'knot',
  'lace',
  'linen',
  'loom',
  'reed',
];
const others = [
  'ribbon',
  'satin',
  'shuttle',
  'silk',
  'spindle',
  'spool',
  'thread',
  'tweed',
  'twill',
  'warp',
  'weft',
  'yarn',
];

const first = [...adjectives, ...more];
const second = [...things, ...others];
const plainAttempts = 20;

/** @returns a name that nobody has: `keen_shuttle`, in need with a number. */
export function madeUpName(isTaken: (name: string) => boolean): string {
  for (let attempt = 0; ; attempt++) {
    const pick = (words: readonly string[]): string => words[Math.floor(Math.random() * words.length)] ?? '';
    const number = attempt < plainAttempts ? '' : String(attempt);
    const name = `${pick(first)}_${pick(second)}${number}`;
    if (!isTaken(name)) return name;
  }
}
