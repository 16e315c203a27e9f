//! Where completions lie in the cache, and how they come by more of it.

use super::Engine;
use super::group::{Group, Head, Work};

impl Engine<'_> {
    /// Gives places to the requests from `already` on.
    pub(super) fn make_room(&mut self, already: usize) {
        let needed: usize = self.running[already..].iter().map(Group::places).sum();
        for place in already..self.running.len() {
            let places = self.running[place].places();
            self.running[place].first = self.take(places, needed);
        }
    }

    /// So many adjacent places. Where there are none, room is made for as many as `needed`.
    fn take(&mut self, places: usize, needed: usize) -> usize {
        loop {
            if let Some(first) = self.pool.take(places) {
                return first;
            }
            let all = self.pool.places();
            let more = all + needed.max(places).max(all);
            self.session.grow(more);
            self.pool.grow(more);
        }
    }

    /// Moves requests whose completions have outgrown their places.
    pub(super) fn move_to_more_room(&mut self) {
        let (mut from, mut to) = (vec![], vec![]);
        for place in 0..self.running.len() {
            let group = &self.running[place];
            let heads = group.heads();
            let longest = heads.iter().map(|head| head.tokens.len()).max();
            let longest = longest.unwrap_or(0);
            if longest <= group.room {
                continue;
            }
            let room = longest.max(2 * group.room);
            let room = room.min(group.settings.max_new_tokens);
            let prompt = group.prompt.len();
            let places = prompt + group.slots * room;
            let first = self.take(places, places);
            let group = &mut self.running[place];
            from.extend(group.first..group.first + prompt);
            to.extend(first..first + prompt);
            for Head { slot, cached, .. } in group.heads() {
                let (old, new) = (group.own(slot), first + prompt + slot * room);
                from.extend(old..old + cached);
                to.extend(new..new + cached);
            }
            self.pool.give_back(group.first, group.places());
            (group.first, group.room) = (first, room);
        }
        self.session.copy(&from, &to);
    }

    /// Copies what searches go on from in more than one way.
    pub(super) fn settle(&mut self) {
        let (mut from, mut to) = (vec![], vec![]);
        for group in &mut self.running {
            let Work::Search(search) = &mut group.work else {
                continue;
            };
            for moved in search.take_moves() {
                let [old, new] = [moved.from, moved.to].map(|slot| group.own(slot));
                from.extend(old..old + moved.tokens);
                to.extend(new..new + moved.tokens);
            }
        }
        self.session.copy(&from, &to);
    }
}
