import { openComputer } from '../../src/runtime/compute.ts';
import { denseModel, float, numbers } from './models.ts';

const feeds = { x: float([1, 3], numbers(2, 3)) };

describe('openComputer', () => {
  it('runs more graphs than it keeps sessions, called at once or again', async () => {
    const computer = openComputer(2);
    const graphs = [denseModel(), denseModel(), denseModel()];
    const order = [0, 1, 2, 0, 0, 2, 1].map((i) => graphs[i] ?? denseModel());
    const results = await Promise.all(order.map((graph) => computer.compute(graph, feeds)));
    for (const result of results) expect(result).toEqual(results[0]);
    await computer.close();
    // Closing forgets the sessions, not the graphs.
    expect(await computer.compute(denseModel(), feeds)).toEqual(results[0]);
    await computer.close();
  });

  it('reuses the session of a graph', async () => {
    const computer = openComputer(1);
    const graph = denseModel();
    await computer.compute(graph, feeds);
    // A graph whose message was broken after its first run still runs: nothing is loaded again.
    (graph.graph as { node: unknown[] }).node = [];
    expect(Object.keys(await computer.compute(graph, feeds))).toEqual(['y']);
    await computer.close();
    await expect(computer.compute(graph, feeds)).rejects.toMatchObject({ code: 'runtime' });
    await computer.close();
  });

  it('goes on after a failed run', async () => {
    const computer = openComputer();
    await expect(computer.compute(denseModel(), {})).rejects.toMatchObject({ code: 'data' });
    expect(Object.keys(await computer.compute(denseModel(), feeds))).toEqual(['y']);
    await computer.close();
  });
});
