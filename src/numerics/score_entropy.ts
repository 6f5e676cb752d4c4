/** −Σ p ln p of p = softmax(scores), in nats: 0 where one class is certain, ln(classes) where all are alike; NaN where a score is none. */
export function scoreEntropy(scores: ArrayLike<number>): number {
  let most = -Infinity;
  for (let i = 0; i < scores.length; i++) most = Math.max(most, scores[i]!);
  let [sum, weighted] = [0, 0];
  for (let i = 0; i < scores.length; i++) {
    const apart = scores[i]! - most;
    const share = Math.exp(apart);
    sum += share;
    // 0 · −∞ is nothing.
    if (share > 0) weighted += share * apart;
  }
  return Math.log(sum) - weighted / sum;
}
