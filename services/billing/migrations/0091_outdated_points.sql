-- Whoever enters readings asks of each meter whether the open point of its account is outdated. Few points are: an index of
-- those alone answers for the others without looking them up.
CREATE INDEX point_open_outdated ON point_open (settlement_account_id, company_id) WHERE outdated;
