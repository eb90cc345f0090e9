/** Answers of a registry that are read whole: no longer than a document may be. */
import { SkeinError } from '../../common/index.ts';
import { maximumDocumentBytes } from '../images/manifest.ts';

/** @throws SkeinError ResourceExhausted. */
export async function boundedBytes(response: Response): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > maximumDocumentBytes)
      throw new SkeinError('ResourceExhausted', 'the registry sent too large a document');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** @throws SkeinError ResourceExhausted. */
export async function boundedText(response: Response): Promise<string> {
  return (await boundedBytes(response)).toString('utf8');
}
