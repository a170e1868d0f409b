package domains

// NewNaming returns a Service that can do no more than Parse.
func NewNaming(opts Options) *Service {
	s := &Service{opts: opts, reserved: map[string]bool{}, idna: profile()}
	for _, host := range opts.Reserved {
		s.reserved[host] = true
	}
	return s
}

// Parse is what Add does to a name.
func (s *Service) Parse(text string) (name, display string, err error) { return s.parse(text) }

// ProofName is where a domain's proof is looked for, and ProofValue what it is.
func (d Domain) ProofName() string  { return d.proofName() }
func (d Domain) ProofValue() string { return d.proofValue() }
