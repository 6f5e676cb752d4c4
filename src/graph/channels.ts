/** The channel graph of a model: what must be cut together, cutting it, and what can go without changing the function. */
export { channelGroups } from './channels/groups.ts';
export { leaveOne } from './channels/keep.ts';
export { removeChannels } from './channels/cut.ts';
export { removableChannels } from './channels/zeros.ts';
export { storedTensors } from './query.ts';
export type { ChannelGroup, Channels, Member } from './channels/types.ts';
