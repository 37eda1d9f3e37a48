//! The steps from one state to the next.

use crate::publisher::{Claim, Fate, Held};
use crate::world::World;
use crate::{Broken, CHUNK, COARSE, END, FINE, LEASE, Rules, Token, YOUNG};

impl World {
    /// All states that may follow.
    pub(crate) fn next(&self, rules: Rules) -> Result<Vec<Self>, Broken> {
        let mut found = Vec::new();
        if self.now < END {
            let mut next = self.clone();
            next.now += 1;
            found.push(next);
        }
        self.claim_steps(FINE, rules, &mut found);
        self.send_steps(FINE, rules, &mut found)?;
        self.settle_steps(FINE, rules, &mut found);
        if !self.went_wrong {
            self.mishaps(FINE, &mut found);
        }
        self.coarse_steps(rules, &mut found)?;
        for next in &found {
            next.check()?;
        }
        Ok(found)
    }

    /// The second publisher claims, sends or settles, each in one step.
    fn coarse_steps(&self, rules: Rules, found: &mut Vec<Self>) -> Result<(), Broken> {
        let mut worlds = Vec::new();
        self.claim_steps(COARSE, rules, &mut worlds);
        while let Some(world) = worlds.pop() {
            if world.publishers[COARSE].claim.is_some() {
                world.claim_steps(COARSE, rules, &mut worlds);
            } else {
                found.push(world);
            }
        }
        self.send_steps(COARSE, rules, &mut worlds)?;
        while let Some(world) = worlds.pop() {
            let publisher = &world.publishers[COARSE];
            if publisher.wire.is_empty() && publisher.receipts.is_empty() {
                found.push(world);
            } else {
                let mut alone = world.clone();
                let queued = std::mem::take(&mut alone.publishers[COARSE].queued);
                let before = worlds.len();
                alone.send_steps(COARSE, rules, &mut worlds)?;
                for world in &mut worlds[before..] {
                    world.publishers[COARSE].queued.clone_from(&queued);
                }
            }
        }
        self.settle_steps(COARSE, rules, &mut worlds);
        while let Some(world) = worlds.pop() {
            if world.publishers[COARSE].settling.is_some() {
                world.settle_steps(COARSE, rules, &mut worlds);
            } else {
                found.push(world);
            }
        }
        Ok(())
    }

    fn claim_steps(&self, p: usize, rules: Rules, found: &mut Vec<Self>) {
        let publisher = &self.publishers[p];
        match &publisher.claim {
            None if publisher.in_flight() < CHUNK
                && (p == FINE || publisher.holds().next().is_none()) =>
            {
                let mut next = self.clone();
                let publisher = &mut next.publishers[p];
                let young = publisher.began.filter(|began| self.now - began < YOUNG);
                let began = *publisher.began.insert(young.unwrap_or(self.now));
                next.tokens += 1;
                publisher.spoiled = false;
                let deadline = if rules.one_end { began } else { self.now } + LEASE;
                // Those whose leases end at the same time.
                let mut own: Vec<Token> = publisher
                    .holds()
                    .filter(|held| held.deadline == deadline || !rules.one_end)
                    .map(|held| held.token)
                    .collect();
                if rules.troubled && publisher.has_trouble() {
                    own.clear();
                }
                own.sort_unstable();
                own.dedup();
                publisher.claim = Some(Claim {
                    token: next.tokens,
                    deadline,
                    own,
                    rows: None,
                });
                found.push(next);
            }
            None => {}
            Some(claim) if claim.rows.is_none() => {
                let mut next = self.clone();
                let publisher = &mut next.publishers[p];
                if let Some(token) = publisher.doubtful.take() {
                    let ours = next.rows.iter_mut().filter(|row| row.token == Some(token));
                    for row in ours.filter(|row| !row.succeeded) {
                        (row.token, row.due) = (None, 0);
                    }
                }
                let rows = next.claimable(claim, rules);
                for row in &rows {
                    let stored = &mut next.rows[usize::from(*row)];
                    (stored.token, stored.due) = (Some(claim.token), self.now + LEASE);
                }
                next.publishers[p].claim.as_mut().unwrap().rows = Some(rows);
                found.push(next);
            }
            Some(claim) => {
                let mut next = self.clone();
                let publisher = &mut next.publishers[p];
                publisher.claim = None;
                for &row in claim.rows.iter().flatten() {
                    let held = Held {
                        row,
                        token: claim.token,
                        deadline: claim.deadline,
                    };
                    if rules.spoiled && publisher.spoiled {
                        publisher.outcomes.push((held, Fate::Released));
                    } else {
                        publisher.queued.push_back(held);
                    }
                }
                found.push(next);
            }
        }
    }

    fn send_steps(&self, p: usize, rules: Rules, found: &mut Vec<Self>) -> Result<(), Broken> {
        let publisher = &self.publishers[p];
        if let Some(&held) = publisher.queued.front() {
            let mut next = self.clone();
            let publisher = &mut next.publishers[p];
            publisher.queued.pop_front();
            if self.now < held.deadline || !rules.deadline {
                if self.rows[usize::from(held.row)].token != Some(held.token) {
                    return Err("law 4: sent when its lease had passed to another");
                }
                publisher.wire.push_back(held);
                if !rules.receipts {
                    publisher.outcomes.push((held, Fate::Sent));
                }
            } else {
                publisher.not_sent(held, Fate::Released);
            }
            found.push(next);
        }
        if let Some(&held) = publisher.wire.front() {
            let mut next = self.clone();
            next.publishers[p].wire.pop_front();
            next.publishers[p].receipts.push_back(held);
            next.arrive(held.row)?;
            found.push(next);
        }
        if let Some(&row) = self.late[p].front() {
            let mut next = self.clone();
            // Or it is lost, with everything written after it.
            let mut lost = next.clone();
            lost.late[p].clear();
            found.push(lost);
            next.late[p].pop_front();
            next.arrive(row)?;
            found.push(next);
        }
        if let Some(&held) = publisher.receipts.front() {
            let mut next = self.clone();
            next.publishers[p].receipts.pop_front();
            if rules.receipts {
                next.publishers[p].outcomes.push((held, Fate::Sent));
            }
            found.push(next);
        }
        Ok(())
    }

    fn settle_steps(&self, p: usize, rules: Rules, found: &mut Vec<Self>) {
        let publisher = &self.publishers[p];
        match &publisher.settling {
            None if !publisher.outcomes.is_empty() => {
                let mut next = self.clone();
                let publisher = &mut next.publishers[p];
                let mut batch = std::mem::take(&mut publisher.outcomes);
                batch.sort_by_key(|(held, _)| (held.row, held.token));
                publisher.settling = Some((batch, Fate::Sent));
                publisher.pass_empty_statements();
                found.push(next);
            }
            None => {}
            Some((batch, fate)) => {
                let mut next = self.clone();
                for (held, _) in batch.iter().filter(|(_, of)| of == fate) {
                    next.settle(*held, *fate, rules);
                }
                next.publishers[p].settling = fate.after().map(|after| (batch.clone(), after));
                next.publishers[p].pass_empty_statements();
                found.push(next);
            }
        }
    }

    /// The faults; one of them happens once.
    fn mishaps(&self, p: usize, found: &mut Vec<Self>) {
        let mut wrong = self.clone();
        wrong.went_wrong = true;

        let mut crashed = wrong.clone();
        let lost = std::mem::take(&mut crashed.publishers[p]);
        crashed.late[p].extend(lost.wire.iter().map(|held| held.row));
        found.push(crashed);

        if self.publishers[p].in_flight() > 0 {
            let mut cut = wrong.clone();
            let World {
                publishers, late, ..
            } = &mut cut;
            publishers[p].lose_connection(&mut late[p]);
            found.push(cut);
        }
        if let Some(&refused) = self.publishers[p].wire.front() {
            // An ERROR that names the row; the broker closes and accepts nothing after it.
            let mut next = wrong.clone();
            let publisher = &mut next.publishers[p];
            publisher.wire.clear();
            let behind: Vec<Held> = self.publishers[p].wire.iter().skip(1).copied().collect();
            publisher.not_sent(refused, Fate::Failed);
            let receipts = std::mem::take(&mut publisher.receipts);
            let queued = std::mem::take(&mut publisher.queued);
            for held in receipts.into_iter().chain(behind).chain(queued) {
                publisher.not_sent(held, Fate::Released);
            }
            found.push(next);
        }
        if let Some(claim) = &self.publishers[p].claim {
            let mut lost = wrong.clone();
            let publisher = &mut lost.publishers[p];
            publisher.claim = None;
            publisher.doubtful = Some(claim.token);
            found.push(lost);
        }
        if let Some((batch, _)) = &self.publishers[p].settling {
            // The statement is repeated.
            let mut lost = wrong;
            let publisher = &mut lost.publishers[p];
            publisher.settling = Some((batch.clone(), Fate::Sent));
            found.push(lost);
        }
    }
}
