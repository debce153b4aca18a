// Maps that share their colours, as the averages of two groups do: what a percentile means over all of them together.

const HALVINGS = 26; // of the range of values, until nothing that is drawn changes

export class Pool {
  constructor(map, members) {
    this.map = map;
    this.members = members;
    this.top = Math.max(...members.map((one) => one.top * one.scale)); // in the unit of the maps
  }

  // Of the maps that have arrived; a map without a group is alone.
  static of(map, ready) {
    const group = map.entry.scale_group;
    const members = group ? ready.filter(({ entry }) => entry.scale_group === group) : [map];
    return new Pool(map, members.includes(map) ? members : [map, ...members]);
  }

  get total() {
    return this.members.reduce((sum, { total }) => sum + total, 0);
  }

  // Percent of the voxels of all maps with |h| at or below a value, which is given as a stored number of this map.
  rank(stored) {
    if (this.members.length === 1) return this.map.rank(stored);
    const value = stored * this.map.scale;
    const below = this.members.reduce((sum, one) => sum + (one.total * one.rank(value / one.scale)) / 100, 0);
    return this.total > 0 ? (100 * below) / this.total : 0;
  }

  // The stored number of this map that `percent` of the voxels of all maps do not exceed.
  percentile(percent) {
    if (this.members.length === 1) return this.map.percentile(percent);
    let [low, high] = [0, Math.max(...this.members.map((one) => one.largest() * one.scale)) / this.map.scale];
    if (percent <= 0) return 0;
    for (let i = 0; i < HALVINGS; i++) {
      const middle = (low + high) / 2;
      if (this.rank(middle) >= percent) high = middle;
      else low = middle;
    }
    return high;
  }
}
