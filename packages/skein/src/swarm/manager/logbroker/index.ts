/** logbroker: from the nodes' task logs to the readers of `service logs`. Keeps nothing. */
export { LogBroker } from './broker.ts';
