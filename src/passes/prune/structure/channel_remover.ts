import { remover } from './thinning.ts';

/** Cuts channels that only zero weights read. */
export const channelRemover = remover(
  {
    name: 'prune/structure/channel_remover',
    distiller: 'ChannelRemover',
    summary: 'cut channels that only zero weights read',
  },
  ['in'],
);
