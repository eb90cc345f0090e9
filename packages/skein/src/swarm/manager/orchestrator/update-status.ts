import { clone, create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { type Service, ServiceSchema, type Task } from '../../gen/objects_pb.js';
import {
  UpdateConfig_FailureAction as FailureAction,
  UpdateStatus_UpdateState as State,
  type UpdateConfig,
  UpdateStatusSchema,
} from '../../gen/types_pb.js';
import type { WriteTransaction } from '../../store/index.ts';

/** @returns whether the update ends here. */
export function actOnFailure(
  tx: WriteTransaction,
  service: Service,
  task: Task,
  config: UpdateConfig,
  now: number,
): boolean {
  const cause = `due to failure or early termination of task ${task.id}`;
  const isRollback = service.updateStatus?.state === State.ROLLBACK_STARTED;
  if (config.failureAction === FailureAction.CONTINUE) return false;
  if (isRollback) setUpdateStatus(tx, service.id, State.ROLLBACK_PAUSED, `rollback paused ${cause}`, now);
  else if (config.failureAction === FailureAction.ROLLBACK && service.previousSpec) rollBack(tx, service.id, cause);
  else setUpdateStatus(tx, service.id, State.PAUSED, `update paused ${cause}`, now);
  return true;
}

/** The previous spec becomes the present one. */
function rollBack(tx: WriteTransaction, id: string, cause: string): void {
  const stored = tx.get('service', id);
  if (!stored?.previousSpec) return;
  const service = clone(ServiceSchema, stored);
  service.spec = service.previousSpec;
  service.specVersion = service.previousSpecVersion;
  service.previousSpec = undefined;
  service.previousSpecVersion = undefined;
  service.updateStatus ??= create(UpdateStatusSchema);
  service.updateStatus.state = State.ROLLBACK_STARTED;
  service.updateStatus.message = `update rolled back ${cause}`;
  tx.update('service', service);
}

export function setUpdateStatus(tx: WriteTransaction, id: string, state: State, message: string, now: number): void {
  const stored = tx.get('service', id);
  if (!stored) return;
  const service = clone(ServiceSchema, stored);
  service.updateStatus ??= create(UpdateStatusSchema);
  service.updateStatus.state = state;
  service.updateStatus.message = message;
  if (state === State.UPDATING) service.updateStatus.startedAt = timestampFromMs(now);
  if (state === State.COMPLETED || state === State.ROLLBACK_COMPLETED)
    service.updateStatus.completedAt = timestampFromMs(now);
  tx.update('service', service);
}
