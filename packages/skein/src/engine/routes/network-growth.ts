/** /skein/networks/…: a network grows by further subnets, which Docker has no command for. */
import * as z from 'zod';
import { ipamConfigToSpec } from '../convert/network.ts';
import { invalid } from '../errors.ts';
import { pathParameter } from '../parameters.ts';
import { json, post } from '../reply.ts';
import { decodeBody, goMap, goString, goStruct } from '../schema.ts';
import type { Engine, Route } from '../types.ts';

const growBody = goStruct({
  Config: z
    .array(goStruct({ Subnet: goString, IPRange: goString, Gateway: goString, AuxiliaryAddresses: goMap }))
    .default(() => []),
});

export function networkGrowthRoutes(engine: Engine): Route[] {
  return [
    post('/skein/networks/:id/subnets', async (call) => {
      const { Config } = decodeBody(growBody, await call.json(), 'NetworkSubnets');
      if (Config.length === 0) throw invalid('no subnet to add');
      const control = engine.swarm.control();
      const { id } = control.findNetwork(pathParameter(call, 'id'));
      const network = control.growNetwork(id, Config.map(ipamConfigToSpec));
      return json({ Subnets: network.ipam?.configs.map(({ subnet }) => subnet) ?? [] });
    }),
  ];
}
