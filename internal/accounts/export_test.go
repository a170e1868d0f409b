package accounts

// HashesComputed returns how many password hashes s has computed.
func (s *Service) HashesComputed() int64 { return s.hasher.hashed.Load() }

// HashesAtOnce returns how many password hashes s computes at the same time.
func (s *Service) HashesAtOnce() int { return cap(s.hasher.slots) }
