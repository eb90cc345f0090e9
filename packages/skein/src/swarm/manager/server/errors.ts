import { ConnectError, type Interceptor } from '@connectrpc/connect';
import { type ErrorCode, errorText, type Logger, RpcError, SkeinError } from '../../../common/index.ts';
import { connectCode } from '../../identity/index.ts';
import { peerKey } from './peer.ts';

/** What a peer did wrong, or tried in vain. */
const refusals: readonly ErrorCode[] = ['PermissionDenied', 'InvalidArgument'];

/**
 * @returns the interceptor that sends our errors with their code and bare text. Those that have none are logged, and
 * those that refuse a peer, with its address.
 */
export function errorMapping(logger: Logger): Interceptor {
  return (next) => async (request) => {
    const convert = (error: unknown) => {
      if (!(error instanceof SkeinError) && !(error instanceof ConnectError) && !request.signal.aborted) {
        logger.error({ err: error, method: request.url }, 'call failed');
      }
      if (error instanceof SkeinError && refusals.includes(error.code)) {
        const { address, subject } = request.contextValues.get(peerKey);
        const method = new URL(request.url).pathname;
        logger.warn({ peer: address, node: subject?.nodeId, method, reason: errorText(error) }, 'call refused');
      }
      return toConnectError(error);
    };
    try {
      const response = await next(request);
      return response.stream ? { ...response, message: mapErrors(response.message, convert) } : response;
    } catch (error) {
      throw convert(error);
    }
  };
}

function toConnectError(error: unknown): ConnectError {
  if (error instanceof ConnectError) return error;
  const text = error instanceof RpcError ? error.description : errorText(error);
  return new ConnectError(text, connectCode(error));
}

async function* mapErrors<T>(messages: AsyncIterable<T>, convert: (error: unknown) => Error): AsyncGenerator<T> {
  try {
    yield* messages;
  } catch (error) {
    throw convert(error);
  }
}
