package config

// Dunning is how clients are asked that aren't paid for any more, in days from the end of what is paid. Time in which the gateway or the
// platform was down doesn't count.
type Dunning struct {
	Days         []int `env:"DUNNING_DAYS" envDefault:"0,1,3,7" validate:"min=1,max=20,dive,min=0,max=365"` // of the attempts
	SuspendAfter int   `env:"DUNNING_SUSPEND_DAYS" envDefault:"7" validate:"min=1,max=365"`                 // never before the last attempt
	DeleteAfter  int   `env:"DUNNING_DELETE_DAYS" envDefault:"28" validate:"min=1,max=1000"`                // until the deletion is scheduled
	UndoHours    int   `env:"DUNNING_UNDO_HOURS" envDefault:"72" validate:"min=12,max=720"`                 // from then to the deletion
	ChargeWait   int   `env:"DUNNING_CHARGE_WAIT_HOURS" envDefault:"12" validate:"min=1,max=72"`            // for a bank that doesn't decide; then a link is sent
	Remind       int   `env:"DUNNING_REMIND_DAYS" envDefault:"3" validate:"min=1,max=14"`                   // before the end
}
