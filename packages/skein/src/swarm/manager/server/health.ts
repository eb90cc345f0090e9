import type { ServiceImpl } from '@connectrpc/connect';
import { RpcError } from '../../../common/index.ts';
import { type Health, HealthCheckResponse_ServingStatus } from '../../gen/health_pb.js';

/** The services that raft peers ask about (swarmkit manager/health). */
const servingServices = ['', 'Raft'];

/** @returns Health: SERVING, for a server that answers serves. */
export function healthService(): ServiceImpl<typeof Health> {
  return {
    check: ({ service }) => {
      if (!servingServices.includes(service)) throw new RpcError('NotFound', 'unknown service');
      return { status: HealthCheckResponse_ServingStatus.SERVING };
    },
  };
}
