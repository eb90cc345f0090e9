const isoTime = /^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.(\d+))?(?:Z|[+-]\d\d:\d\d)$/;

/** @returns a time as Go's time.Time prints itself: `2026-11-23 23:50:45.701662977 +0000 UTC`. */
export function goTime(iso: string): string {
  const match = isoTime.exec(iso);
  if (!match) return iso;
  const fraction = (match[3] ?? '').replace(/0+$/, '');
  return `${match[1]} ${match[2]}${fraction && `.${fraction}`} ${iso.endsWith('Z') ? '+0000 UTC' : offsetText(iso)}`;
}

function offsetText(iso: string): string {
  const offset = iso.slice(-6).replace(':', '');
  return `${offset} ${offset === '+0000' ? 'UTC' : offset}`;
}
