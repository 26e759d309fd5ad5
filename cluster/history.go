package cluster

// Reign is one entry of a History: the time of one primary incarnation at the head of a group.
type Reign struct {
	Epoch Epoch
	ID    ReignID
	First LSN // the first LSN that the reign may give; above every LSN in the store of its primary
}

// History is the list of a group's reigns, oldest first. Epochs and first LSNs rise strictly. Entries are the same only
// if their reign IDs are. Histories are values: methods return new ones and never change the receiver's list.
type History struct {
	Group  GroupID
	Reigns []Reign
}
