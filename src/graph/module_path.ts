import type { NodeProto } from './proto.ts';

/**
 * The module path in a node name as PyTorch's exporter writes it: `/layer1/layer1.0/conv1/Conv` → `layer1.0.conv1`. A scope
 * whose name begins with the one before it (children of Sequential and ModuleList) replaces it. Undefined for other names.
 */
export function modulePath(node: string): string | undefined {
  const scopes = node.split('/').slice(1, -1);
  if (!node.startsWith('/') || scopes.length === 0) return undefined;
  const path: string[] = [];
  for (const scope of scopes) {
    const last = path.at(-1);
    if (last !== undefined && (scope === last || scope.startsWith(`${last}.`))) path.pop();
    path.push(scope);
  }
  return path.join('.');
}

/** The PyTorch module a node was exported from, as far as its metadata, its name or its weights' names tell. */
export function moduleOf(node: NodeProto, weights: readonly string[]): string | undefined {
  // torch.onnx.export(dynamo=True) writes "['', 'layer1', 'layer1.0', 'conv2d_3']": the last is the node itself.
  const scopes = node.metadata_props.find((entry) => entry.key === 'pkg.torch.onnx.name_scopes')?.value;
  const scope = scopes === undefined ? undefined : [...scopes.matchAll(/'([^']*)'/g)].at(-2)?.[1];
  const named = weights.find((name) => name.endsWith('.weight'))?.slice(0, -'.weight'.length);
  return scope || modulePath(node.name) || named;
}
