import type { Interceptor } from '@connectrpc/connect';
import { RpcError } from '../../../common/index.ts';
import { type CertificateSubject, managerRole, workerRole } from '../../identity/index.ts';
import type { Store } from '../../store/types.ts';
import { callerKey, hostOf, peerKey } from './peer.ts';

const managers = [managerRole] as const;
const nodes = [workerRole, managerRole] as const;

/** Who may call (swarmkit api/*.proto, tls_authorization). A service that is not listed may be called by no one. */
const authorizedRoles: Readonly<Record<string, readonly string[] | 'anyone'>> = {
  'docker.swarmkit.v1.CA/GetRootCACertificate': 'anyone',
  'docker.swarmkit.v1.CA/GetUnlockKey': managers,
  'docker.swarmkit.v1.NodeCA': 'anyone',
  'docker.swarmkit.v1.Dispatcher': nodes,
  'docker.swarmkit.v1.LogBroker': nodes,
  'docker.swarmkit.v1.ResourceAllocator': nodes,
  'docker.swarmkit.v1.Logs': managers,
  'docker.swarmkit.v1.Health': managers,
};

/** Metadata of a call that a follower passes on to the leader (swarmkit ca/forward.go). */
const forwarded = {
  mark: 'forwarded_cert',
  commonName: 'forwarded_cert_cn',
  unit: 'forwarded_cert_ou',
  organization: 'forwarded_cert_org',
  address: 'remote_addr',
} as const;

/** @returns the interceptor that lets a call through or refuses it in swarmkit's words (ca/auth.go). */
export function authorization(store: Pick<Store, 'view'>, clusterId: string): Interceptor {
  return (next) => (request) => {
    const service = request.service.typeName;
    const roles = authorizedRoles[`${service}/${request.method.name}`] ?? authorizedRoles[service] ?? [];
    const peer = request.contextValues.get(peerKey);
    const identify = () => authorize(peer.subject, peer.address, request.header, roles === 'anyone' ? nodes : roles);
    const authorize = (
      subject: CertificateSubject | undefined,
      address: string,
      header: Headers,
      expected: readonly string[],
    ) => {
      const check = { store, clusterId };
      if (header.get(forwarded.mark) === 'true') return authorizeForwarded(check, subject, header, expected);
      try {
        return { nodeId: authorizeSubject(check, subject, expected), address };
      } catch (error) {
        if (!(error instanceof RpcError)) throw error;
        throw denied(`Permission denied: unauthorized peer role: ${error.message}`);
      }
    };
    if (roles !== 'anyone') request.contextValues.set(callerKey, identify());
    else if (peer.subject !== undefined) request.contextValues.set(callerKey, unlessDenied(identify));
    return next(request);
  };
}

interface Check {
  readonly store: Pick<Store, 'view'>;
  readonly clusterId: string;
}

function authorizeSubject(check: Check, subject: CertificateSubject | undefined, roles: readonly string[]): string {
  if (subject === undefined) throw denied('no client certificates in request');
  if (!subject.units.some((unit) => roles.includes(unit))) {
    throw denied(`Permission denied: remote certificate not part of OUs: [${roles.join(' ')}]`);
  }
  if (isBlacklisted(check, subject.nodeId)) {
    throw denied(`Permission denied: node ${subject.nodeId} was removed from swarm`);
  }
  if (subject.organization !== check.clusterId) {
    throw denied(`Permission denied: remote certificate not part of organization: ${check.clusterId}`);
  }
  return subject.nodeId;
}

/** Only a manager may speak for another node. */
function authorizeForwarded(
  check: Check,
  forwarder: CertificateSubject | undefined,
  header: Headers,
  roles: readonly string[],
): { nodeId: string; address: string } {
  try {
    authorizeSubject(check, forwarder, managers);
  } catch (error) {
    if (!(error instanceof RpcError)) throw error;
    throw denied(`Permission denied: unauthorized forwarder role: ${error.message}`);
  }
  const nodeId = header.get(forwarded.commonName) ?? '';
  const organization = header.get(forwarded.organization) ?? '';
  const units = (header.get(forwarded.unit) ?? '').split(',').map((unit) => unit.trim());
  if (nodeId === '' || organization === '' || units.every((unit) => unit === '')) {
    throw denied('Permission denied: missing information in forwarded request');
  }
  if (!units.some((unit) => roles.includes(unit))) {
    throw denied(`Permission denied: unauthorized forwarded role, expecting: [${roles.join(' ')}]`);
  }
  if (organization !== check.clusterId) {
    throw denied(`Permission denied: organization mismatch, expecting: ${check.clusterId}`);
  }
  return { nodeId, address: hostOf(header.get(forwarded.address) ?? '') };
}

function isBlacklisted({ store, clusterId }: Check, nodeId: string): boolean {
  const cluster = store.view((transaction) => transaction.get('cluster', clusterId));
  return cluster !== undefined && Object.hasOwn(cluster.blacklistedCertificates, nodeId);
}

function unlessDenied<T>(identify: () => T): T | undefined {
  try {
    return identify();
  } catch (error) {
    if (error instanceof RpcError) return undefined;
    throw error;
  }
}

function denied(description: string): RpcError {
  return new RpcError('PermissionDenied', description);
}
