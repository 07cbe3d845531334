//! Rounds of measurements at several sites, and what they come to.
//!
//! Input: sites and a measurement. Output: a number per site and round. In each round every site has its turn, in an order
//! of the round's own: what else the machine does, in a rhythm or not, thus hits all of them alike, and none always comes
//! after the same other one. Two sites are compared round by round.

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

/// What was measured at each site, a number per round.
#[derive(Debug)]
pub(crate) struct Rounds {
    samples: Vec<Vec<f64>>,
}

impl Rounds {
    /// Measures at so many sites, each known by its position.
    pub(crate) fn of(sites: usize, rounds: usize, mut measure: impl FnMut(usize) -> f64) -> Rounds {
        let mut samples = vec![Vec::new(); sites];
        let mut order: Vec<usize> = (0..sites).collect();
        let mut random = StdRng::seed_from_u64(0);
        for _ in 0..rounds {
            order.shuffle(&mut random);
            for site in &order {
                samples[*site].push(measure(*site));
            }
        }
        Rounds { samples }
    }

    /// The median at a site.
    pub(crate) fn median(&self, site: usize) -> f64 {
        median(self.samples[site].clone())
    }

    /// The median of what one site has for each of another's, round by round.
    pub(crate) fn ratio(&self, site: usize, other: usize) -> f64 {
        median(self.samples[site].iter().zip(&self.samples[other]).map(|(one, other)| one / other).collect())
    }
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    let middle = samples.len() / 2;
    if samples.len() % 2 == 1 { samples[middle] } else { f64::midpoint(samples[middle - 1], samples[middle]) }
}
