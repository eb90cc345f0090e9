/**
 * The grammar of image references (distribution/reference): `[host[:port]/]path[:tag][@digest]`.
 */
const label = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
const host = `(?:${label}(?:\\.${label})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?`;
const component = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';
const path = `${component}(?:/${component})*`;
const tag = '[\\w][\\w.-]{0,127}';
const digest = '[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}';
const reference = new RegExp(`^(?:(?<host>${host})/)?(?<path>${path})(?::${tag})?(?:@${digest})?$`);
/** A name of this form is an image's ID, not its name. */
const bareId = /^[a-f0-9]{64}$/;
const maxNameLength = 255;

/** @returns whether a text names an image as `docker pull` takes it. */
export function isImageReference(text: string): boolean {
  const match = reference.exec(text);
  if (!match || bareId.test(text)) return false;
  return `${match.groups?.host ?? ''}/${match.groups?.path ?? ''}`.length <= maxNameLength;
}
